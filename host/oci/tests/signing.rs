//! Signing of modules at a registry whose signatures others change at the same time.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use kube_devops_oci::artifact::{Layout, Module};
use kube_devops_oci::{Access, Digest, Keychain, OciError, Options, PublicKey, Repository, SigningKey};
use rcgen::KeyPair;
use serde_json::{Value, json};
use support::{answer, with_header};

type Content = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A registry that stores what is pushed to it, with a module.
struct Registry {
    host: String,
    content: Content,
    digest: Digest,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(content: Content, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut content = content.lock().unwrap();
    match parts.method.as_str() {
        "POST" => with_header(202, "location", "/v2/a/blobs/uploads/1"),
        "PUT" => {
            let blob = query.strip_prefix("digest=").map(|digest| format!("/v2/a/blobs/{digest}"));
            content.insert(blob.unwrap_or(path), body);
            answer(201, "")
        }
        _ => content.get(&path).map_or_else(|| answer(404, ""), |bytes| answer(200, Body::from(bytes.clone()))),
    }
}

impl Registry {
    async fn start() -> Self {
        let module = Module { component: b"\0asm", title: "a.wasm", version: None, imports: &[], exports: &[] };
        let manifest = Layout::of(&module).manifest;
        let digest = Digest::of(&manifest);
        let content: Content = Arc::default();
        content.lock().unwrap().insert(format!("/v2/a/manifests/{digest}"), manifest.into());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, served) = (listener.local_addr().unwrap().to_string(), content.clone());
        let router = Router::new().fallback(move |request: Request| respond(served.clone(), request));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, content, digest, task }
    }

    /// The path of the manifest with signatures.
    fn tag(&self) -> String {
        format!("/v2/a/manifests/{}.sig", self.digest.as_str().replace(':', "-"))
    }

    async fn open(&self, access: Access) -> Repository {
        let reference = format!("{}/a:1", self.host).parse().unwrap();
        let options = Options { plain_http: true, ..Options::default() };
        Repository::open(&reference, &Keychain::default(), &options, access).await.unwrap()
    }

    async fn sign(&self, key: &KeyPair) -> Result<(), OciError> {
        let key = SigningKey::from_pem(&key.serialize_pem()).unwrap();
        self.open(Access::Push).await.sign("host/a", &self.digest, &key).await
    }

    async fn verify(&self, key: &KeyPair) -> Result<Digest, OciError> {
        let key = PublicKey::from_pem(&key.public_key_pem()).unwrap();
        self.open(Access::Pull).await.verify(&self.digest, &[key]).await
    }

    /// The layers of the manifest with signatures.
    fn layers(&self) -> Vec<Value> {
        let manifest: Value = serde_json::from_slice(&self.content.lock().unwrap()[&self.tag()]).unwrap();
        manifest["layers"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn signatures_by_other_keys_are_kept_however_often_a_key_signs() {
    let (registry, one, two) = (Registry::start().await, KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    registry.sign(&two).await.unwrap();
    for _ in 0..3 {
        registry.sign(&one).await.unwrap();
    }
    assert_eq!(registry.layers().len(), 2);
    registry.verify(&one).await.unwrap();
    registry.verify(&two).await.unwrap();
}

#[tokio::test]
async fn no_signature_is_removed_to_make_room_for_another_one() {
    let (registry, key) = (Registry::start().await, KeyPair::generate().unwrap());
    registry.sign(&KeyPair::generate().unwrap()).await.unwrap();
    let mut manifest: Value = serde_json::from_slice(&registry.content.lock().unwrap()[&registry.tag()]).unwrap();
    manifest["layers"] = json!(vec![manifest["layers"][0].clone(); 256]);
    registry.content.lock().unwrap().insert(registry.tag(), manifest.to_string().into());
    let error = registry.sign(&key).await.unwrap_err().to_string();
    assert!(error.contains("it has 256 signatures already; remove the tag"), "{error}");
    assert_eq!(registry.layers().len(), 256);
    // What cannot be read would be lost.
    for unreadable in [r#"{"manifests": []}"#, r#"{"layers": [{"digest": "sha512:1"}]}"#, "<html>"] {
        registry.content.lock().unwrap().insert(registry.tag(), unreadable.into());
        let error = registry.sign(&key).await.unwrap_err().to_string();
        assert!(error.contains("its manifest is not one of signatures"), "{error}");
        assert_eq!(registry.content.lock().unwrap()[&registry.tag()], unreadable.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_sign_at_the_same_time_lose_no_signature() {
    let registry = Registry::start().await;
    let keys: Vec<KeyPair> = (0..4).map(|_| KeyPair::generate().unwrap()).collect();
    for signed in futures::future::join_all(keys.iter().map(|key| registry.sign(key))).await {
        signed.unwrap();
    }
    for key in &keys {
        registry.verify(key).await.unwrap();
    }
    assert_eq!(registry.layers().len(), keys.len());
}
