//! A registry whose answers a test decides: recorded ones, or those of a hostile registry.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use kube_devops_oci::Reference;
use serde::Deserialize;
use tokio::task::JoinHandle;

/// A server on a port of this machine, until it is dropped.
pub struct Server {
    host: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that answers each request with `answer`.
    pub async fn start(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = requests.clone();
        let router = Router::new().fallback(move |request: Request| {
            log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let response = answer(&request);
            async move { response }
        });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, requests, task }
    }

    /// Returns the address of a repository and a tag or digest on this server.
    pub fn reference(&self, path: &str) -> Reference {
        format!("{}/{path}", self.host).parse().unwrap()
    }

    /// The host and the port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with a status and a body.
pub fn answer(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// A body without an end, in parts of so many bytes.
pub fn trickle(part: usize) -> Body {
    let part = Bytes::from(vec![b' '; part]);
    let parts = futures::stream::unfold(part, async |part| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, std::io::Error>(part.clone()), part))
    });
    Body::from_stream(parts)
}

/// An answer with a status and a header.
pub fn with_header(status: u16, name: &str, value: &str) -> Response {
    Response::builder().status(status).header(name, value).body(Body::empty()).unwrap()
}

/// The answers of a registry that were recorded in a folder of tests/fixtures/signatures.
pub struct Recorded {
    folder: PathBuf,
    answers: Arc<BTreeMap<String, Answer>>,
}

#[derive(Deserialize)]
struct Answer {
    file: String,
}

impl Recorded {
    /// Reads the folder.
    pub fn read(case: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/signatures").join(case);
        let answers = serde_json::from_slice(&fs::read(folder.join("requests.json")).unwrap()).unwrap();
        Self { folder, answers: Arc::new(answers) }
    }

    /// Returns the content of a file.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap().trim().to_owned()
    }

    /// Returns the answer to a request, if there is one.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let known = self.answers.get(path)?;
        Some(fs::read(self.folder.join(&known.file)).unwrap())
    }

    /// Starts a registry with the answers.
    pub async fn serve(&self) -> Server {
        let (folder, answers) = (self.folder.clone(), self.answers.clone());
        Server::start(move |request| match answers.get(request.uri().path()) {
            Some(known) => answer(200, fs::read(folder.join(&known.file)).unwrap()),
            None => answer(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        })
        .await
    }
}
