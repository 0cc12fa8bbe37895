//! PolicyModule: a registry that serves something else than a module. The status says what is wrong, the last good version stays
//! active, and the memory of the operator stays bounded.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use end_to_end::guests::{guest, replaced};
use end_to_end::operator::{Setting, apply, expect_module};
use kube_devops_oci::Digest;
use kube_devops_oci::artifact::{COMPONENT, Layout, Module};
use serde_json::json;

/// What the registry serves: the answer to a request for the manifest, and to one for the component.
#[derive(Clone)]
struct Served {
    manifest: Answer,
    component: Answer,
}

#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    Status(u16),
    Redirection(&'static str),
    Endless,
}

impl Answer {
    fn response(&self) -> Response {
        let answer = Response::builder();
        let response = match self {
            Self::Bytes(bytes) => answer.body(Body::from(bytes.clone())),
            Self::Status(status) => answer.status(*status).header(header::RETRY_AFTER, "0").body(Body::empty()),
            Self::Redirection(target) => answer.status(307).header(header::LOCATION, *target).body(Body::empty()),
            Self::Endless => {
                let chunk = Bytes::from(vec![b' '; 64 * 1024]);
                answer.body(Body::from_stream(futures::stream::repeat_with(move || {
                    Ok::<_, std::io::Error>(chunk.clone())
                })))
            }
        };
        response.unwrap()
    }
}

impl Served {
    /// A component in the layout of a module.
    fn component(component: &[u8]) -> Self {
        let module = Module { component, title: "a.wasm", version: None, imports: &[], exports: &[] };
        let manifest = Layout::of(&module).manifest;
        Self { manifest: Answer::Bytes(manifest), component: Answer::Bytes(component.to_vec()) }
    }

    /// The same with a change of the manifest.
    fn with_manifest(component: &[u8], from: &str, to: &str) -> Self {
        let served = Self::component(component);
        let Answer::Bytes(manifest) = &served.manifest else { return served };
        let manifest = String::from_utf8(manifest.clone()).unwrap().replace(from, to);
        Self { manifest: Answer::Bytes(manifest.into_bytes()), ..served }
    }

    fn manifest(manifest: Answer) -> Self {
        Self { manifest, component: Answer::Status(404) }
    }
}

/// A case: its name, what is served, and the reason and a text of the condition Ready.
type Case = (&'static str, Served, &'static str, &'static str);

fn cases(good: &[u8]) -> Vec<Case> {
    let size = format!("\"size\":{}", good.len());
    let newer = replaced(good, b"devops:policy/check@0.2.0", b"devops:policy/check@0.9.0");
    assert_ne!(newer, good);
    let broken = [&good[..8], &[0xff; 64]].concat();
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let lying = Served { component: Answer::Endless, ..Served::component(good) };
    let swapped = Served { component: Answer::Bytes(vec![0; good.len()]), ..Served::component(good) };
    let shortened = Served { component: Answer::Bytes(good[..100].to_vec()), ..Served::component(good) };
    vec![
        ("broken", Served::component(&broken), "LoadFailed", "not a valid WebAssembly component"),
        ("truncated", Served::component(&good[..good.len() / 2]), "LoadFailed", "not a valid WebAssembly component"),
        ("core module", Served::component(b"\0asm\x01\0\0\0"), "LoadFailed", "a core WebAssembly module"),
        ("text", Served::component(b"hello"), "LoadFailed", "is not WebAssembly"),
        ("no check", Served::component(b"\0asm\x0d\0\x01\0"), "LoadFailed", "exports neither"),
        ("newer contract", Served::component(&newer), "LoadFailed", "implements version 0.9.0"),
        ("oversized", Served::with_manifest(good, &size, "\"size\":99999999"), "TooLarge", "the module has more than"),
        ("wrong media type", Served::with_manifest(good, COMPONENT, media_type), "NotAModule", "oras push REF"),
        ("lying about the size", lying, "TooLarge", "more than"),
        ("another content", swapped, "DigestMismatch", "has the digest"),
        ("cut off", shortened, "DigestMismatch", "its manifest states"),
        ("endless manifest", Served::manifest(Answer::Endless), "TooLarge", "the manifest"),
        ("no manifest", Served::manifest(Answer::Bytes(b"{}".to_vec())), "NotAModule", "not that of a module"),
        ("redirection", Served::manifest(Answer::Redirection("/v2/")), "RedirectDenied", "too many redirections"),
        ("401", Served::manifest(Answer::Status(401)), "AccessDenied", "without credentials"),
        ("403", Served::manifest(Answer::Status(403)), "AccessDenied", "(403"),
        ("404", Served::manifest(Answer::Status(404)), "NotFound", "does not have the manifest"),
        ("429", Served::manifest(Answer::Status(429)), "RegistryFailed", "status 429"),
        ("500", Served::manifest(Answer::Status(500)), "RegistryFailed", "status 500"),
    ]
}

/// Serves what `served` contains, and returns the host.
async fn registry(served: Arc<Mutex<Served>>) -> Result<(String, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let router = Router::new().fallback(move |request: Request| {
        let served = served.lock().unwrap().clone();
        let is_component = request.uri().path().contains("/blobs/");
        async move { if is_component { served.component.response() } else { served.manifest.response() } }
    });
    Ok((host, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_is_wrong_and_the_last_good_version_stays() -> Result<()> {
    let good = guest("pack", Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let served = Arc::new(Mutex::new(Served::component(&good)));
    let (host, server) = registry(served.clone()).await?;
    let setting = Setting::start().await?;
    let (operator, system) = (setting.operator().await?, setting.namespace());
    let module = json!({
        "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": "tampered" },
        "spec": { "source": { "oci": { "reference": format!("{host}/checks:1"), "plainHTTP": true } } },
    });
    apply(system, &module.to_string()).await?;
    expect_module(&operator, system, "tampered", "Active", "").await?;
    let (digest, before) = (Digest::of(&good), operator.memory("VmHWM")?);
    for (index, (case, content, reason, text)) in cases(&good).into_iter().enumerate() {
        *served.lock().unwrap() = content;
        let annotation = format!("devops.stochastic.io/resolve={index}");
        system.kubectl(["annotate", "--overwrite", "policymodule", "tampered", &annotation]).await?;
        let found = expect_module(&operator, system, "tampered", reason, text).await.context(case)?;
        let kept = format!("the last good version {digest} stays active");
        ensure!(found.to_string().contains(&kept), "{case}: {found}");
        ensure!(found["digest"] == json!(digest.to_string()), "{case}: {found}");
    }
    let grown = operator.memory("VmHWM")?.saturating_sub(before);
    ensure!(grown < 64 * 1024, "the memory has grown by {grown} kB");
    let metric = format!("policy_module_loaded{{digest=\"{digest}\",module=\"tampered\"}}");
    operator.expect_metric(&metric, Some(1.0)).await?;
    server.abort();
    Ok(())
}
