//! A certificate in files, as cert-manager, a mounted Secret or `cert-generate` provide it.

use std::fmt::Display;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{CertificateError, IssuedCertificate, ServerCertificate, Validity, ca_bundle, validity};

/// The period of reading the files. A mounted Secret is replaced by symbolic links, which file notifications may miss.
const PERIOD: Duration = Duration::from_secs(1);

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// PEM text: the certificate, followed by intermediate certificates.
    pub certificate: PathBuf,
    /// PEM text.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both.
    pub fn load(&self) -> Result<ServerCertificate, CertificateError> {
        let (certificate, key) = self.read()?;
        ServerCertificate::new(&certificate, &key)
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
        Ok((read(&self.certificate)?, read(&self.key)?))
    }
}

/// Reads the files until `stop`, and calls `changed` with each new certificate. An invalid one changes nothing: while the files
/// are replaced one after the other, they do not match. One that is valid later is used from then on.
pub async fn follow_files(files: CertificateFiles, changed: impl Fn(ServerCertificate), stop: CancellationToken) {
    let mut known = files.read().ok().map(digest);
    let mut early: Option<ServerCertificate> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let read = files.read();
        let found = read.as_ref().ok().cloned().map(digest);
        if found == known {
            if let Some(certificate) = early.take_if(|certificate| certificate.validity(Utc::now()) != Validity::Early)
            {
                replace(certificate, &changed);
            }
            continue;
        }
        (known, early) = (found, None);
        match read.and_then(|(certificate, key)| ServerCertificate::new(&certificate, &key)) {
            Ok(certificate) if certificate.validity(Utc::now()) == Validity::Early => {
                tracing::warn!(start = %certificate.start, "the certificate was not replaced: the new one is not valid yet");
                early = Some(certificate);
            }
            Ok(certificate) => replace(certificate, &changed),
            Err(error) => tracing::warn!("the certificate was not replaced: {error}"),
        }
    }
}

/// Replaces the certificate, unless the new one has expired: no API server accepts it, and the current one may still be valid.
fn replace(certificate: ServerCertificate, changed: impl Fn(ServerCertificate)) {
    if certificate.validity(Utc::now()) == Validity::Expired {
        tracing::warn!(expiry = %certificate.expiry, "the certificate was not replaced: the new one has expired");
        return;
    }
    tracing::info!(expiry = %certificate.expiry, "the certificate was replaced");
    changed(certificate);
}

fn digest((certificate, key): (Vec<u8>, Vec<u8>)) -> [u8; 32] {
    Sha256::new().chain_update(certificate).chain_update([0]).chain_update(key).finalize().into()
}

/// Writes `ca.crt`, `tls.crt` and `tls.key` into a folder, and returns their paths. CAs of an existing `ca.crt` that have not
/// expired are kept, so that a certificate can be rotated without an interruption.
pub fn write_files(folder: &Path, issued: &IssuedCertificate) -> Result<[PathBuf; 3], CertificateError> {
    fs::create_dir_all(folder).map_err(|error| file(folder, &error))?;
    let ca_file = folder.join("ca.crt");
    let before = if ca_file.exists() { read(&ca_file)? } else { Vec::new() };
    let paths = [ca_file, folder.join("tls.crt"), folder.join("tls.key")];
    let bundle = ca_bundle(&issued.ca, &before, &[], Utc::now());
    for (path, text, is_secret) in
        [(&paths[0], &bundle, false), (&paths[1], &issued.certificate, false), (&paths[2], &issued.key, true)]
    {
        write(folder, path, text, is_secret).map_err(|error| file(path, &error))?;
    }
    Ok(paths)
}

/// Reads a CA bundle from a file, which must contain nothing but certificates.
pub fn read_ca_bundle(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let text = read(path)?;
    let invalid = |what: &str| CertificateError::Invalid(format!("{}: {what}", path.display()));
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| invalid(&error.to_string()))?;
    if certificates.is_empty() || certificates.iter().any(|certificate| validity(certificate).is_none()) {
        return Err(invalid("it contains no certificate in PEM format"));
    }
    // Its content becomes part of an object that many users can read.
    if String::from_utf8_lossy(&text).contains("PRIVATE KEY") {
        return Err(invalid("it contains a private key; use the file of the CA, ca.crt"));
    }
    Ok(text)
}

/// Replaces a file atomically.
fn write(folder: &Path, path: &Path, text: &str, is_secret: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut temporary = NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    let mode = if is_secret { 0o600 } else { 0o644 };
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| {
        let owners = (error.kind() == ErrorKind::PermissionDenied).then(|| owners(path)).flatten();
        file(path, &format!("{error}{}", owners.unwrap_or_default()))
    })
}

/// Who owns a file that cannot be read, and who reads it.
fn owners(path: &Path) -> Option<String> {
    let (file, process) = (fs::metadata(path).ok()?, fs::metadata("/proc/self").ok()?);
    Some(format!(
        "; it belongs to user {} and group {} with mode {:o}, and is read by user {} and group {}: in Kubernetes, set fsGroup in the \
         security context of the pod",
        file.uid(),
        file.gid(),
        file.mode() & 0o777,
        process.uid(),
        process.gid(),
    ))
}

fn file(path: &Path, error: &dyn Display) -> CertificateError {
    CertificateError::File { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_the_reader_of_an_unreadable_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.key");
        write(folder.path(), &path, "key", true).unwrap();
        let found = fs::metadata(&path).unwrap();
        let (user, group) = (found.uid(), found.gid());
        let expected =
            format!("belongs to user {user} and group {group} with mode 600, and is read by user {user} and");
        let text = owners(&path).unwrap();
        assert!(text.contains(&expected) && text.contains("fsGroup"), "{text}");
        assert_eq!(owners(&folder.path().join("missing")), None);
    }
}
