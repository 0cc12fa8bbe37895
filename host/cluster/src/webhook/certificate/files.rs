//! A certificate in files, as cert-manager, a mounted Secret or `cert-generate` put them there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{CertificateError, Made, ServerCertificate, bundle, expiry};

/// How often files are looked at. A mounted Secret is replaced by links, which not every notification of changes notices.
const PERIOD: Duration = Duration::from_secs(1);

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// PEM text: the certificate, and behind it those between it and the authority.
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

/// Looks at the files until `stop`, and tells `changed` of what is in them when that is another certificate. One that cannot
/// be used changes nothing: while files are replaced one after the other, they do not belong together.
pub async fn follow_files(files: CertificateFiles, changed: impl Fn(ServerCertificate), stop: CancellationToken) {
    let mut known = files.read().ok().map(digest);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let read = files.read();
        let found = read.as_ref().ok().cloned().map(digest);
        if found == known {
            continue;
        }
        known = found;
        match read.and_then(|(certificate, key)| ServerCertificate::new(&certificate, &key)) {
            // No API server takes it, and the one that is served may still be good.
            Ok(certificate) if certificate.expiry <= Utc::now() => {
                tracing::warn!(expiry = %certificate.expiry, "the certificate was not replaced: the new one has ended");
            }
            Ok(certificate) => {
                tracing::info!(expiry = %certificate.expiry, "the certificate was replaced");
                changed(certificate);
            }
            Err(error) => tracing::warn!("the certificate was not replaced: {error}"),
        }
    }
}

fn digest((certificate, key): (Vec<u8>, Vec<u8>)) -> [u8; 32] {
    Sha256::new().chain_update(certificate).chain_update([0]).chain_update(key).finalize().into()
}

/// Writes `tls.crt`, `tls.key` and `ca.crt` into a folder, and gives their paths. Authorities of an earlier `ca.crt` that
/// have not ended stay in it, so that a certificate can be replaced without an interruption.
pub fn write_files(folder: &Path, made: &Made) -> Result<[PathBuf; 3], CertificateError> {
    fs::create_dir_all(folder).map_err(|error| file(folder, &error))?;
    let ca_bundle = folder.join("ca.crt");
    let before = if ca_bundle.exists() { read(&ca_bundle)? } else { Vec::new() };
    let paths = [ca_bundle, folder.join("tls.crt"), folder.join("tls.key")];
    let bundle = bundle(&made.ca, &before, Utc::now());
    for (path, text, is_secret) in
        [(&paths[0], &bundle, false), (&paths[1], &made.certificate, false), (&paths[2], &made.key, true)]
    {
        write(folder, path, text, is_secret).map_err(|error| file(path, &error))?;
    }
    Ok(paths)
}

/// The authorities in a file, which has to hold nothing but certificates.
pub fn read_ca_bundle(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let text = read(path)?;
    let unusable = |what: &str| CertificateError::Unusable(format!("{}: {what}", path.display()));
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(&error.to_string()))?;
    if certificates.is_empty() || certificates.iter().any(|certificate| expiry(certificate).is_none()) {
        return Err(unusable("it holds no certificate in PEM form"));
    }
    // What it holds goes into an object that many can read.
    if String::from_utf8_lossy(&text).contains("PRIVATE KEY") {
        return Err(unusable("it holds a private key; give the file with the authority, ca.crt"));
    }
    Ok(text)
}

/// Replaces a file as a whole, so that nobody reads half of it.
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
    fs::read(path).map_err(|error| file(path, &error))
}

fn file(path: &Path, error: &std::io::Error) -> CertificateError {
    CertificateError::File { path: path.display().to_string(), reason: error.to_string() }
}
