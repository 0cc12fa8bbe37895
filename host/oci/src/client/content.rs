//! Manifests, blobs and tags of a repository.

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::transport::{Body, transfer_time};
use super::{Call, Repository, absolute, attempts};
use crate::artifact::{ACCEPTED_MANIFESTS, Descriptor, Document, Layout, MANIFEST, Manifest, Module};
use crate::budget::{Budget, Growing, Reserved, SLOW};
use crate::{Digest, OciError, blocking};

/// The largest manifest, in bytes: the limit of the distribution specification.
pub(super) const MAX_MANIFEST_SIZE: u64 = 4 * 1024 * 1024;

/// The name of a component in errors.
const COMPONENT: &str = "the component";

/// A module that was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The digest of its component.
    pub digest: Digest,
    /// The component.
    pub component: Vec<u8>,
    /// The memory for the component in the budget.
    pub reserved: Option<Reserved>,
}

impl Repository {
    /// Returns the digest of a version, which is a tag or a digest.
    ///
    /// # Errors
    ///
    /// If the registry does not have it or cannot be reached.
    pub async fn resolve(&self, version: &str) -> Result<Digest, OciError> {
        self.within(async { Ok(self.manifest(version).await?.0) }).await
    }

    /// Pulls the module whose manifest has the given digest. `most` is the limit of its size, in bytes, and `budget` that of all
    /// modules at the same time.
    ///
    /// # Errors
    ///
    /// If it does not exist, is too large, is no module, or does not have its digest.
    pub async fn pull(&self, digest: &Digest, most: u64, budget: Option<&Budget>) -> Result<Pulled, OciError> {
        let layer = self.within(self.component(digest)).await?;
        if layer.size > most {
            return Err(OciError::TooLarge { what: "the module".to_owned(), limit: most });
        }
        self.deadline.extend(transfer_time(layer.size));
        let (component, reserved) = match budget {
            Some(budget) => {
                let (component, reserved) = self.within_budget(&layer, budget).await?;
                (component, Some(reserved))
            }
            None => (self.within(self.blob(&layer, COMPONENT, None)).await?, None),
        };
        Ok(Pulled { digest: layer.digest, component, reserved })
    }

    /// Returns a component and its memory in the budget.
    async fn within_budget(&self, layer: &Descriptor, budget: &Budget) -> Result<(Vec<u8>, Reserved), OciError> {
        if let Some(memory) = budget.quick(layer.size) {
            let read = self.within(self.blob(layer, COMPONENT, Some(&memory)));
            if let Ok(component) = tokio::time::timeout(SLOW, read).await {
                return Ok((component?, memory.reserved()));
            }
            // What has arrived is dropped, so that its memory is free for the modules of others.
        }
        // The registry is not to blame for this wait.
        let reserved = budget.reserve(layer.size, self.deadline.total).await?;
        Ok((self.within(self.blob(layer, COMPONENT, None)).await?, reserved))
    }

    /// Returns the descriptor of the component of a module.
    async fn component(&self, digest: &Digest) -> Result<Descriptor, OciError> {
        let (_, document) = self.manifest(digest.as_str()).await?;
        let manifest = match document {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let (_, inner) = self.manifest(index.component()?.digest.as_str()).await?;
                match inner {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(OciError::Manifest("it is an index of indexes".to_owned())),
                }
            }
        };
        manifest.component().cloned()
    }

    /// Pushes a module with a tag, and returns the digest of its manifest.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or rejects it.
    pub async fn push(&self, tag: &str, module: &Module<'_>) -> Result<Digest, OciError> {
        self.deadline.extend(transfer_time(module.component.len() as u64));
        self.within(async {
            let layout = Layout::of(module);
            self.push_blob(module.component).await?;
            self.push_blob(&layout.configuration).await?;
            self.push_manifest(tag, layout.manifest).await
        })
        .await
    }

    /// Returns a manifest or an index and its digest.
    pub(crate) async fn manifest(&self, version: &str) -> Result<(Digest, Document), OciError> {
        let what = format!("the manifest {version}");
        let headers = [(header::ACCEPT, ACCEPTED_MANIFESTS)];
        let url = self.url(&format!("manifests/{version}"));
        let (_, bytes) = self.get(url, &headers, Body::of(&what, MAX_MANIFEST_SIZE)).await?;
        let digest = Digest::of(&bytes);
        if let Ok(requested) = version.parse::<Digest>()
            && requested != digest
        {
            return Err(OciError::Digest { what, found: digest.to_string() });
        }
        Ok((digest, Document::read(&bytes)?))
    }

    /// Returns a blob, and compares its size and digest. `memory` is reserved for the bytes that arrive.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        what: &str,
        memory: Option<&Growing>,
    ) -> Result<Vec<u8>, OciError> {
        let url = self.url(&format!("blobs/{}", descriptor.digest));
        let name = format!("{what} {}", descriptor.digest);
        // A byte more than stated is enough to know that the manifest is wrong.
        let body = Body { what: &name, limit: descriptor.size, memory };
        let (_, bytes) = self.get(url, &[], body).await?;
        if bytes.len() as u64 != descriptor.size {
            return Err(OciError::Size { expected: descriptor.size, found: bytes.len() as u64 });
        }
        let (bytes, found) = blocking::run(move || {
            let found = Digest::of(&bytes);
            (bytes, found)
        })
        .await?;
        if found != descriptor.digest {
            return Err(OciError::Digest { what: format!("{what} {}", descriptor.digest), found: found.to_string() });
        }
        Ok(bytes)
    }

    /// Returns a manifest that exists; `None` if it does not.
    pub(crate) async fn existing_manifest(&self, version: &str) -> Result<Option<Manifest>, OciError> {
        match self.manifest(version).await {
            Ok((_, Document::Manifest(manifest))) => Ok(Some(*manifest)),
            Ok((_, Document::Index(_))) | Err(OciError::NotFound { .. } | OciError::Manifest(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pushes a blob, unless the registry has it. After a transient error, the upload starts again: a registry continues none that
    /// was interrupted.
    pub(crate) async fn push_blob(&self, bytes: &[u8]) -> Result<(), OciError> {
        let (digest, body) = (Digest::of(bytes), Bytes::copy_from_slice(bytes));
        attempts(|| self.upload(&digest, body.clone())).await
    }

    async fn upload(&self, digest: &Digest, body: Bytes) -> Result<(), OciError> {
        let what = "the blob";
        let url = self.url(&format!("blobs/{digest}"));
        let head = Call { method: Method::HEAD, url, headers: &[], body: Bytes::new(), what };
        match self.follow(&head).await {
            Ok(_) => return Ok(()),
            Err(OciError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let url = self.url("blobs/uploads/");
        let start =
            Call { method: Method::POST, url: url.clone(), headers: &[], body: Bytes::new(), what: "the repository" };
        let (started, _) = self.follow(&start).await?;
        let location = started.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let base = url.parse().map_err(|_| self.protocol("its address is not valid".to_owned()))?;
        let location = location.and_then(|location| absolute(&base, location));
        let location = location.ok_or_else(|| self.protocol("an upload has no location".to_owned()))?;
        if self.scheme == "https" && !location.starts_with("https://") {
            return Err(self.protocol("it redirects an upload to a place without TLS".to_owned()));
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
        let url = format!("{location}{separator}digest={digest}");
        self.follow(&Call { method: Method::PUT, url, headers: &headers, body, what: "the upload" }).await?;
        Ok(())
    }

    /// Pushes a manifest with a tag.
    pub(crate) async fn push_manifest(&self, tag: &str, manifest: Vec<u8>) -> Result<Digest, OciError> {
        let digest = Digest::of(&manifest);
        let url = self.url(&format!("manifests/{tag}"));
        let headers = [(header::CONTENT_TYPE, MANIFEST)];
        let call = Call { method: Method::PUT, url, headers: &headers, body: manifest.into(), what: "the repository" };
        self.call(call).await?;
        Ok(digest)
    }

    /// Returns the headers and the body of an answer.
    pub(super) async fn get(
        &self,
        url: String,
        headers: &[(header::HeaderName, &str)],
        body: Body<'_>,
    ) -> Result<(HeaderMap, Vec<u8>), OciError> {
        let call = Call { method: Method::GET, url, headers, body: Bytes::new(), what: body.what };
        // A body that was interrupted is requested again as well.
        attempts(|| self.read(&call, body)).await
    }

    async fn read(&self, call: &Call<'_>, body: Body<'_>) -> Result<(HeaderMap, Vec<u8>), OciError> {
        let (response, host) = self.follow(call).await?;
        let head = response.headers().clone();
        Ok((head, self.transport.read(response, &host, body).await?))
    }

    /// Limits the time of all requests of a command.
    pub(crate) async fn within<T>(&self, requests: impl Future<Output = Result<T, OciError>>) -> Result<T, OciError> {
        self.deadline.limit(&self.host, requests).await
    }
}
