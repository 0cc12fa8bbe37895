//! The bytes of a module in a ConfigMap.

use std::io::{Read, Take};

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_devops_oci::Digest;

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bytes of a module, and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The digest of the bytes.
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The reason why there are no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The ConfigMap does not exist.
    #[error("there is no ConfigMap {0} in the namespace of the platform")]
    NoConfigMap(String),
    /// The ConfigMap cannot be read.
    #[error("failed to read the ConfigMap {name}: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The ConfigMap has no binary data.
    #[error("the ConfigMap has no binaryData; create it with `kubectl create configmap NAME --from-file=FILE.wasm`")]
    NoBinaryData,
    /// The key does not exist.
    #[error("the ConfigMap has no key {key} in binaryData; it has: {known}")]
    NoKey {
        /// The key.
        key: String,
        /// The keys that exist.
        known: String,
    },
    /// There are several keys, and none is selected.
    #[error("the ConfigMap has several keys: {0}; select one with `key`")]
    SeveralKeys(String),
    /// The data is not valid gzip.
    #[error("the data starts like gzip, and is not valid: {0}")]
    Gzip(String),
    /// The uncompressed data is too large.
    #[error("the module has more than {0} bytes")]
    TooLarge(usize),
}

/// Returns the module in a ConfigMap. `most` is the limit of its size.
///
/// # Errors
///
/// If there is none.
pub fn content(name: &str, map: Option<&ConfigMap>, key: Option<&str>, most: usize) -> Result<Content, ContentError> {
    component(stored(name, map, key)?, most)
}

/// Returns the digest of the module in a ConfigMap, without holding the module in memory. `most` is the limit of its size.
///
/// # Errors
///
/// If there is none.
pub fn digest_of(name: &str, map: Option<&ConfigMap>, key: Option<&str>, most: usize) -> Result<String, ContentError> {
    let mut limited = limited(stored(name, map, key)?, most);
    let digest = Digest::of_reader(&mut limited).map_err(|error| ContentError::Gzip(error.to_string()))?;
    if limited.limit() == 0 { Err(ContentError::TooLarge(most)) } else { Ok(digest.to_string()) }
}

/// The data of a module in a ConfigMap, as it is stored.
fn stored<'a>(name: &str, map: Option<&'a ConfigMap>, key: Option<&str>) -> Result<&'a [u8], ContentError> {
    let map = map.ok_or_else(|| ContentError::NoConfigMap(name.to_owned()))?;
    let data = map.binary_data.as_ref().filter(|data| !data.is_empty()).ok_or(ContentError::NoBinaryData)?;
    let known = || data.keys().cloned().collect::<Vec<_>>().join(", ");
    match (key, data.len()) {
        (Some(key), _) => {
            let found = data.get(key).ok_or_else(|| ContentError::NoKey { key: key.to_owned(), known: known() })?;
            Ok(&found.0)
        }
        (None, 1) => Ok(&data.values().next().ok_or(ContentError::NoBinaryData)?.0),
        (None, _) => Err(ContentError::SeveralKeys(known())),
    }
}

/// Returns the component in data that may be compressed with gzip. `most` is the limit of its size.
///
/// # Errors
///
/// If it is too large, or not valid gzip.
pub fn component(stored: &[u8], most: usize) -> Result<Content, ContentError> {
    let (mut bytes, mut limited) = (Vec::new(), limited(stored, most));
    limited.read_to_end(&mut bytes).map_err(|error| ContentError::Gzip(error.to_string()))?;
    if limited.limit() == 0 {
        return Err(ContentError::TooLarge(most));
    }
    Ok(Content { digest: digest(&bytes), bytes })
}

/// Reads data that may be compressed. Never reads more than a byte above `most`: a few bytes of gzip can stand for gigabytes.
fn limited(stored: &[u8], most: usize) -> Take<Box<dyn Read + '_>> {
    let read: Box<dyn Read + '_> =
        if stored.starts_with(&GZIP) { Box::new(GzDecoder::new(stored)) } else { Box::new(stored) };
    read.take(most as u64 + 1)
}

/// Returns the digest that identifies a module.
pub fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use k8s_openapi::ByteString;

    use super::*;

    fn map(entries: &[(&str, Vec<u8>)]) -> ConfigMap {
        let data = entries.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.clone()))).collect();
        ConfigMap { binary_data: Some(data), ..ConfigMap::default() }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn found(map: Option<&ConfigMap>, key: Option<&str>) -> Result<Vec<u8>, String> {
        let digest = digest_of("checks", map, key, 1000);
        let found = content("checks", map, key, 1000);
        assert_eq!(found.clone().map(|content| content.digest), digest, "the digest is the same without the bytes");
        found.map(|content| content.bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_module_is_the_only_or_the_selected_key_with_or_without_gzip() {
        assert_eq!(found(Some(&map(&[("a.wasm", b"abc".to_vec())])), None).unwrap(), b"abc");
        let two = map(&[("a", b"abc".to_vec()), ("b", gzip(b"def"))]);
        assert_eq!(found(Some(&two), Some("b")).unwrap(), b"def");
        assert!(found(Some(&two), None).unwrap_err().contains("several keys: a, b"));
        assert!(found(Some(&two), Some("c")).unwrap_err().contains("no key c in binaryData; it has: a, b"));
        assert!(found(None, None).unwrap_err().contains("no ConfigMap checks"));
        assert!(found(Some(&ConfigMap::default()), None).unwrap_err().contains("no binaryData"));
        let one = content("checks", Some(&two), Some("a"), 1000).unwrap();
        assert_eq!(one.digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn sizes_are_limited_before_and_after_compression() {
        assert!(found(Some(&map(&[("a", vec![0; 1001])])), None).unwrap_err().contains("more than 1000 bytes"));
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        assert!(found(Some(&map(&[("a", bomb)])), None).unwrap_err().contains("more than 1000 bytes"));
        let mut broken = gzip(b"abcdef");
        broken.truncate(12);
        assert!(found(Some(&map(&[("a", broken)])), None).unwrap_err().contains("not valid"));
    }
}
