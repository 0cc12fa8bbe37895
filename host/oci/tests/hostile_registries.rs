//! Registries that lie, hang, redirect or deny: errors say what is wrong, nothing large is read, and no secret leaves.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use kube_devops_oci::artifact::{COMPONENT, Layout, Module};
use kube_devops_oci::fetch::{Budget, Request as FetchRequest, fetch};
use kube_devops_oci::{Access, Digest, Keychain, OciError, Options, Reference, Repository, Store, Timeouts};
use support::{Server, answer, trickle, with_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BYTES: &[u8] = b"\0asm\x0d\0\x01\0";
const MAX_SIZE: u64 = 1000;

/// The manifest of a module.
fn manifest() -> String {
    let module = Module { component: BYTES, title: "a.wasm", version: None, imports: &[], exports: &[] };
    String::from_utf8(Layout::of(&module).manifest).unwrap()
}

async fn pull(reference: &Reference, keychain: &Keychain) -> Result<Vec<u8>, OciError> {
    let timeouts = Timeouts { idle: Duration::from_millis(300), deadline: Duration::from_secs(20) };
    let options = Options { plain_http: true, timeouts, ..Options::default() };
    Ok(fetch(None, request(reference, &options, keychain)).await?.component)
}

fn request<'a>(reference: &'a Reference, options: &'a Options, keychain: &'a Keychain) -> FetchRequest<'a> {
    FetchRequest { reference, options, keychain, keys: &[], most: MAX_SIZE, budget: None, now: 0 }
}

/// Pulls from a registry with a manifest and a blob, and returns the error and the requests.
async fn error(
    manifest: impl Into<String>,
    blob: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> (String, String) {
    let manifest: String = manifest.into();
    let server = Server::start(move |request: &Request| match request.uri().path() {
        path if path.contains("/manifests/") => answer(200, manifest.clone()),
        path if path.contains("/blobs/") => blob(),
        _ => answer(404, ""),
    })
    .await;
    let error = pull(&server.reference("a:1"), &Keychain::default()).await.unwrap_err();
    (error.to_string(), server.requests().join("\n"))
}

/// Pulls from a server that answers everything in one way.
async fn denied(answers: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let server = Server::start(answers).await;
    pull(&server.reference("a:1"), &Keychain::default()).await.unwrap_err().to_string()
}

/// A body without an end.
fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let stream = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    answer(200, Body::from_stream(stream))
}

#[tokio::test]
async fn content_that_is_not_that_of_the_manifest_is_an_error() {
    let (error_text, _) = error(manifest(), || answer(200, b"\0asm\x0d\0\x01\x01".as_slice())).await;
    assert!(error_text.contains("has the digest sha256:"), "{error_text}");
    let (error_text, _) = error(manifest(), || answer(200, b"\0asm".as_slice())).await;
    assert!(error_text.contains("has 4 bytes, and its manifest states 8"), "{error_text}");
    let (error_text, _) = error(manifest(), endless).await;
    assert!(error_text.contains("more than 8 bytes"), "{error_text}");
}

#[tokio::test]
async fn a_module_that_is_too_large_is_not_read() {
    let (error_text, requests) = error(manifest().replace("\"size\":8", "\"size\":1001"), endless).await;
    assert!(error_text.contains("the module has more than 1000 bytes"), "{error_text}");
    assert!(!requests.contains("/blobs/"), "{requests}");
}

#[tokio::test]
async fn manifests_of_something_else_are_errors_with_a_hint() {
    let cases = [
        (manifest().replace(COMPONENT, "application/vnd.oci.image.layer.v1.tar"), "oras push REF"),
        ("{}".to_owned(), "the manifest is not that of a module"),
        ("<html>".to_owned(), "the manifest is not that of a module"),
        (r#"{"manifests": []}"#.to_owned(), "without a manifest for the architecture wasm"),
        (manifest().replace("sha256:", "sha512:"), "is not a digest"),
    ];
    for (manifest, expected) in cases {
        let (error_text, requests) = error(manifest, endless).await;
        assert!(error_text.contains(expected), "{error_text}");
        assert!(!requests.contains("/blobs/"), "{requests}");
    }
}

#[tokio::test]
async fn endless_manifests_and_errors_are_not_read_to_their_end() {
    assert!(denied(|_| endless()).await.contains("more than 4194304 bytes"));
    let failure = denied(|_| {
        let mut response = endless();
        *response.status_mut() = axum::http::StatusCode::BAD_REQUEST;
        response
    });
    assert!(failure.await.contains("answered with status 400"));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_given_up() {
    let hang = || answer(200, Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()));
    let (error_text, _) = error(manifest(), hang).await;
    assert!(error_text.contains("did not answer within 300ms"), "{error_text}");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reference = format!("{}/a:1", silent.local_addr().unwrap()).parse().unwrap();
    let error_text = pull(&reference, &Keychain::default()).await.unwrap_err().to_string();
    assert!(error_text.contains("no answer within 300ms"), "{error_text}");
}

#[tokio::test]
async fn the_requests_to_log_in_count_towards_the_deadline() {
    let timeouts = Timeouts { idle: Duration::from_millis(300), deadline: Duration::from_secs(1) };
    let options = Options { plain_http: true, timeouts, ..Options::default() };
    let tokens = Server::start(|_: &Request| answer(200, trickle(16 * 1024))).await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", tokens.host());
    let denying = Server::start(move |_: &Request| with_header(401, "www-authenticate", &challenge)).await;
    let failing = Server::start(|_: &Request| answer(500, trickle(16 * 1024))).await;
    for server in [denying, failing] {
        let (reference, keychain) = (server.reference("a:1"), keychain(server.host()));
        let opened = Repository::open(&reference, &keychain, &options, Access::Pull).await;
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("did not answer within 1s"), "{error}");
    }
}

#[tokio::test]
async fn our_own_memory_is_not_the_fault_of_the_registry() {
    let server = module_server().await;
    let timeouts = Timeouts { idle: Duration::from_secs(20), deadline: Duration::from_millis(300) };
    let options = Options { plain_http: true, timeouts, ..Options::default() };
    let (reference, keychain, budget) = (server.reference("a:1"), Keychain::default(), Budget::new(0, 1024));
    let request = FetchRequest { budget: Some(&budget), ..request(&reference, &options, &keychain) };
    let first = fetch(None, request).await.unwrap();
    let error = fetch(None, request).await.unwrap_err();
    assert_eq!(error.reason(), "Busy", "{error}");
    drop(first);
    // A tag of a stored module needs the same memory.
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("modules"));
    drop(fetch(Some(&store), request).await.unwrap());
    let first = fetch(Some(&store), request).await.unwrap();
    assert_eq!(fetch(Some(&store), request).await.unwrap_err().reason(), "Busy");
    drop(first);
    fetch(Some(&store), request).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_upload_starts_again() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |request: &Request| match (request.method().as_str(), request.uri().path()) {
        ("HEAD", _) => answer(404, ""),
        ("POST", _) => {
            let session = sessions.fetch_add(1, Ordering::SeqCst);
            with_header(202, "location", &format!("/v2/a/blobs/uploads/{session}"))
        }
        ("PUT", "/v2/a/blobs/uploads/0") => answer(503, ""),
        _ => answer(201, ""),
    })
    .await;
    let options = Options { plain_http: true, ..Options::default() };
    let reference = server.reference("a:1");
    let repository = Repository::open(&reference, &Keychain::default(), &options, Access::Push).await.unwrap();
    let module = Module { component: BYTES, title: "a.wasm", version: None, imports: &[], exports: &[] };
    repository.push("1", &module).await.unwrap();
    let uploads: Vec<String> =
        server.requests().into_iter().filter(|request| request.starts_with("PUT /v2/a/blobs/uploads/")).collect();
    let session = |upload: &String| upload.split(['/', '?']).nth(5).unwrap().to_owned();
    assert_eq!(uploads.iter().map(session).collect::<Vec<_>>(), ["0", "1", "2"], "{uploads:?}");
}

/// Answers each connection by its first byte, as a registry without TLS that reads one with TLS.
async fn closes_tls() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let read = connection.read(&mut head).await.unwrap_or_default();
            if read > 0 && head[0].is_ascii_alphabetic() {
                let _ = connection.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    host
}

#[tokio::test]
async fn a_registry_of_this_machine_without_tls_may_close_a_connection_with_tls() {
    let reference = format!("{}/a:1", closes_tls().await).parse().unwrap();
    let opened = Repository::open(&reference, &Keychain::default(), &Options::default(), Access::Pull).await;
    let error = opened.unwrap().resolve("1").await.unwrap_err().to_string();
    assert!(error.contains("does not have the manifest 1"), "{error}");
    let text = denied(|_| answer(400, "Client sent an HTTP request to an HTTPS server.\n")).await;
    assert!(text.contains("status 400; it uses TLS: omit --registry-plain-http"), "{text}");
}

/// Starts a registry that has a module in each repository, with each tag.
async fn module_server() -> Server {
    Server::start(|request: &Request| match request.uri().path().contains("/blobs/") {
        true => answer(200, BYTES),
        false => answer(200, manifest()),
    })
    .await
}

#[tokio::test]
async fn each_pull_of_a_version_is_entered_in_the_store() {
    let (server, folder) = (module_server().await, tempfile::tempdir().unwrap());
    let digest = Digest::of(manifest().as_bytes());
    let options = Options { plain_http: true, ..Options::default() };
    let keychain = Keychain::default();
    let pull = async |store: &Store, version: &str| {
        let reference = server.reference(version);
        kube_devops_oci::fetch::pull(Some(store), request(&reference, &options, &keychain)).await.unwrap().1
    };
    let store = Store::new(folder.path().join("modules"));
    let pinned = format!("a@{digest}");
    for (version, tags, by_digest) in [("a:1", "1", false), (&pinned, "1", true), ("a:2", "1 2", true)] {
        pull(&store, version).await.unwrap();
        let [record] = store.list().unwrap().try_into().unwrap();
        let known = record.tags.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!((known.as_str(), record.by_digest), (tags, by_digest), "{version}");
    }
    assert_eq!(server.requests().iter().filter(|request| request.contains("/blobs/")).count(), 1);
    // A store that cannot be written does not fail a pull, and is reported.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let broken = pull(&Store::new(folder.path().join("file")), "a:1").await.unwrap_err();
    assert_eq!(broken.reason(), "StoreFailed", "{broken}");
}

#[tokio::test]
async fn redirections_are_limited() {
    let error_text = denied(|_| with_header(307, "location", "/v2/a/manifests/1")).await;
    assert!(error_text.contains("too many redirections"), "{error_text}");
    let error_text = denied(|_| answer(302, "")).await;
    assert!(error_text.contains("has no location"), "{error_text}");
    let error_text = denied(|_| with_header(307, "location", "file:///etc/passwd")).await;
    assert!(error_text.contains("127.0.0.1") && !error_text.contains("root:"), "{error_text}");
}

fn keychain(host: &str) -> Keychain {
    let configuration = format!(r#"{{"auths": {{"{host}": {{"username": "jane", "password": "s3cret"}}}}}}"#);
    Keychain::of_secret("pull", |key| (key == ".dockerconfigjson").then_some(configuration.as_bytes())).unwrap()
}

#[tokio::test]
async fn credentials_are_not_sent_to_the_target_of_a_redirection() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let storage = Server::start(move |request: &Request| {
        counter.fetch_add(usize::from(request.headers().contains_key("authorization")), Ordering::SeqCst);
        answer(200, BYTES)
    })
    .await;
    let target = format!("http://{}/blob", storage.host());
    let server = Server::start(move |request: &Request| {
        if !request.headers().contains_key("authorization") {
            return with_header(401, "www-authenticate", "Basic realm=\"x\"");
        }
        match request.uri().path().contains("/blobs/") {
            true => with_header(307, "location", &target),
            false => answer(200, manifest()),
        }
    })
    .await;
    let pulled = pull(&server.reference("a:1"), &keychain(server.host())).await.unwrap();
    assert_eq!((pulled.as_slice(), seen.load(Ordering::SeqCst)), (BYTES, 0));
    assert_eq!(storage.requests().len(), 1);
}

#[tokio::test]
async fn denied_credentials_are_named_and_never_replaced_by_an_anonymous_request() {
    let tokens = Server::start(|request: &Request| match request.headers().contains_key("authorization") {
        true => answer(401, ""),
        false => answer(200, r#"{"token": "anonymous"}"#),
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", tokens.host());
    let server = Server::start(move |request: &Request| match request.headers().contains_key("authorization") {
        true => answer(200, manifest()),
        false => with_header(401, "www-authenticate", &challenge),
    })
    .await;
    let error = pull(&server.reference("a:1"), &keychain(server.host())).await.unwrap_err().to_string();
    assert!(error.contains("the Secret pull") && error.contains("user jane") && error.contains("(401"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    assert!(tokens.requests()[0].contains("scope=repository%3Aa%3Apull"), "{:?}", tokens.requests());
    assert_eq!(tokens.requests().len(), 1);
    // Without credentials, the token server is asked for a token for everyone.
    let pulled = pull(&server.reference("a:1"), &Keychain::default()).await.unwrap_err();
    assert!(!matches!(pulled, OciError::Denied { .. }), "{pulled}");
}

#[tokio::test]
async fn each_status_has_an_error_of_its_own() {
    let none = denied(|_| with_header(401, "www-authenticate", "Basic realm=\"x\"")).await;
    assert!(none.contains("denied access to a (401") && none.contains("without credentials"), "{none}");
    let forbidden = denied(|_| answer(403, "")).await;
    assert!(forbidden.contains("(403"), "{forbidden}");
    let missing = denied(|_| answer(404, "")).await;
    assert!(missing.contains("does not have the manifest 1 in a"), "{missing}");
    let broken = denied(|_| answer(500, r#"{"errors": [{"code": "UNKNOWN", "message": "disk full"}]}"#)).await;
    assert!(broken.contains("status 500: UNKNOWN disk full"), "{broken}");
}

#[tokio::test]
async fn a_request_is_tried_again_after_a_transient_error() {
    let failures = Arc::new(AtomicUsize::new(0));
    let counter = failures.clone();
    let server = Server::start(move |request: &Request| {
        if counter.fetch_add(1, Ordering::SeqCst) < 2 {
            return with_header(429, "retry-after", "0");
        }
        if request.uri().path().contains("/blobs/") { answer(200, BYTES) } else { answer(200, manifest()) }
    })
    .await;
    assert_eq!(pull(&server.reference("a:1"), &Keychain::default()).await.unwrap(), BYTES);
    let busy = denied(|_| with_header(429, "retry-after", "0")).await;
    assert!(busy.contains("status 429"), "{busy}");
}

#[tokio::test]
async fn a_digest_identifies_exactly_one_manifest() {
    let server = Server::start(|_: &Request| answer(200, manifest())).await;
    let other = Digest::of(b"other");
    let error = pull(&server.reference(&format!("a@{other}")), &Keychain::default()).await.unwrap_err().to_string();
    assert!(error.contains("has the digest sha256:"), "{error}");
}

#[tokio::test]
async fn a_storage_that_denies_access_is_named_instead_of_credentials_that_it_did_not_get() {
    let storage = Server::start(|_: &Request| answer(403, "")).await;
    let target = format!("http://{}/blob?signature=s3cret", storage.host());
    let server = Server::start(move |request: &Request| match (request.method().as_str(), request.uri().path()) {
        ("HEAD", _) => answer(404, ""),
        ("POST", _) => with_header(202, "location", &target),
        (_, path) if path.contains("/blobs/") => with_header(307, "location", &target),
        _ => answer(200, manifest()),
    })
    .await;
    let (reference, keychain) = (server.reference("a:1"), keychain(server.host()));
    let pulled = pull(&reference, &keychain).await.unwrap_err();
    let options = Options { plain_http: true, ..Options::default() };
    let repository = Repository::open(&reference, &keychain, &options, Access::Push).await.unwrap();
    let module = Module { component: BYTES, title: "a.wasm", version: None, imports: &[], exports: &[] };
    let pushed = repository.push("1", &module).await.unwrap_err();
    for error in [pulled, pushed] {
        let text = error.to_string();
        assert!(text.starts_with(&format!("{} denied access to a (403)", storage.host())), "{text}");
        assert!(text.contains(&format!("{} sends its clients there", server.host())), "{text}");
        assert!(!text.contains("jane") && !text.contains("s3cret"), "{text}");
    }
}
