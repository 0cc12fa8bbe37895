//! The layout of a module in a registry: the Wasm OCI artifact of the CNCF.
//!
//! Source: tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact. The configuration is information for people and
//! registries; what a module may import is decided by its bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Digest, OciError};

/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the configuration of a component.
pub const CONFIGURATION: &str = "application/vnd.wasm.config.v0+json";
/// The media type of a component.
pub const COMPONENT: &str = "application/wasm";
/// The media types of components by other tools.
const OTHER_COMPONENTS: [&str; 2] =
    ["application/vnd.wasm.content.layer.v1+wasm", "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"];
/// The media types of manifests by other tools.
pub(crate) const ACCEPTED_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// The annotation of a layer with its file name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The annotation of a manifest with the version of its content.
pub const VERSION: &str = "org.opencontainers.image.version";

/// A reference to content by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest.
    pub digest: Digest,
    /// The size, in bytes.
    pub size: u64,
    /// Further information.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The platform of a manifest in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture; `wasm` for components.
    pub architecture: String,
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2, always.
    pub schema_version: u32,
    /// The media type.
    #[serde(default)]
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The content.
    pub layers: Vec<Descriptor>,
    /// Further information.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A manifest.
    Manifest(Box<Manifest>),
    /// An index.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    ///
    /// If the bytes are neither.
    pub fn read(bytes: &[u8]) -> Result<Self, OciError> {
        #[derive(Deserialize)]
        struct Shape {
            manifests: Option<serde::de::IgnoredAny>,
        }
        let invalid = |error: serde_json::Error| OciError::Manifest(format!("it is not valid: {error}"));
        let shape: Shape = serde_json::from_slice(bytes).map_err(invalid)?;
        if shape.manifests.is_some() {
            return Ok(Self::Index(serde_json::from_slice(bytes).map_err(invalid)?));
        }
        Ok(Self::Manifest(Box::new(serde_json::from_slice(bytes).map_err(invalid)?)))
    }
}

impl Index {
    /// Returns the manifest of a component: the only one, or the one for the architecture `wasm`.
    ///
    /// # Errors
    ///
    /// If there is no such manifest, or more than one.
    pub fn component(&self) -> Result<&Descriptor, OciError> {
        let is_wasm =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm");
        let wasm: Vec<_> = self.manifests.iter().filter(is_wasm).collect();
        match (wasm.as_slice(), self.manifests.as_slice()) {
            ([only], _) => Ok(*only),
            ([], [only]) => Ok(only),
            ([], _) => {
                Err(OciError::Manifest("it is an index without a manifest for the architecture wasm".to_owned()))
            }
            _ => Err(OciError::Manifest("it is an index with several manifests for the architecture wasm".to_owned())),
        }
    }
}

impl Manifest {
    /// Returns the layer with the component.
    ///
    /// # Errors
    ///
    /// If there is not exactly one layer, or if it is no component.
    pub fn component(&self) -> Result<&Descriptor, OciError> {
        let [layer] = self.layers.as_slice() else {
            return Err(OciError::Manifest(format!(
                "it has {} layers, and a module has exactly one",
                self.layers.len()
            )));
        };
        if layer.media_type == COMPONENT || OTHER_COMPONENTS.contains(&layer.media_type.as_str()) {
            return Ok(layer);
        }
        let found: String = layer.media_type.chars().take(200).collect();
        Err(OciError::Manifest(format!(
            "its layer is {found:?} and not {COMPONENT}; push it with `kube-devops module push`, or with `oras push REF \
             FILE.wasm:{COMPONENT}`"
        )))
    }
}

/// A module to push.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// The component.
    pub component: &'a [u8],
    /// The name of its file.
    pub title: &'a str,
    /// Its version, if it has one.
    pub version: Option<&'a str>,
    /// The names of its imports.
    pub imports: &'a [String],
    /// The names of its exports.
    pub exports: &'a [String],
}

/// The blobs and the manifest of a module.
#[derive(Debug)]
pub struct Layout {
    /// The configuration.
    pub configuration: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

impl Layout {
    /// Returns the layout of a module. The same module always has the same digest: the layout contains no time.
    pub fn of(module: &Module<'_>) -> Self {
        let mut layer = Descriptor::of(COMPONENT, module.component);
        layer.annotations.insert(TITLE.to_owned(), module.title.to_owned());
        let configuration = json!({
            "architecture": "wasm", "os": "wasip2", "layerDigests": [layer.digest],
            "component": { "exports": module.exports, "imports": module.imports, "target": null },
        })
        .to_string()
        .into_bytes();
        let annotations = module.version.map(|version| (VERSION.to_owned(), version.to_owned())).into_iter().collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::of(CONFIGURATION, &configuration),
            layers: vec![layer],
            annotations,
        };
        Self { configuration, manifest: json!(manifest).to_string().into_bytes() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn manifest(layers: &[&str]) -> Manifest {
        let layers = layers.iter().map(|media_type| Descriptor::of(media_type, b"abc")).collect();
        let config = Descriptor::of(CONFIGURATION, b"{}");
        Manifest { schema_version: 2, media_type: MANIFEST.to_owned(), config, layers, annotations: BTreeMap::new() }
    }

    #[test]
    fn a_module_is_written_in_the_layout_of_the_cncf() {
        let module = Module { component: b"abc", title: "a.wasm", version: Some("1.0"), imports: &[], exports: &[] };
        let layout = Layout::of(&module);
        let Document::Manifest(written) = Document::read(&layout.manifest).unwrap() else { panic!("not a manifest") };
        assert_eq!(written.media_type, MANIFEST);
        assert_eq!(written.config, Descriptor::of(CONFIGURATION, &layout.configuration));
        assert_eq!(written.component().unwrap().annotations[TITLE], "a.wasm");
        assert_eq!(written.annotations[VERSION], "1.0");
        let configuration: serde_json::Value = serde_json::from_slice(&layout.configuration).unwrap();
        assert_eq!((&configuration["os"], &configuration["architecture"]), (&json!("wasip2"), &json!("wasm")));
        assert_eq!(Layout::of(&module).manifest, layout.manifest);
    }

    #[test]
    fn the_media_types_of_other_tools_are_read_and_others_are_errors_with_a_hint() {
        assert!(manifest(&[OTHER_COMPONENTS[0]]).component().is_ok());
        assert!(manifest(&[OTHER_COMPONENTS[1]]).component().is_ok());
        let tar = manifest(&["application/vnd.oci.image.layer.v1.tar"]).component().unwrap_err().to_string();
        assert!(tar.contains("oras push REF FILE.wasm:application/wasm"), "{tar}");
        assert!(manifest(&[]).component().unwrap_err().to_string().contains("has 0 layers"));
        assert!(manifest(&[COMPONENT, COMPONENT]).component().unwrap_err().to_string().contains("has 2 layers"));
    }

    #[test]
    fn an_index_must_identify_one_component() {
        let entry = |architecture: Option<&str>| Descriptor {
            platform: architecture.map(|architecture| Platform { architecture: architecture.to_owned() }),
            ..Descriptor::of(MANIFEST, architecture.unwrap_or_default().as_bytes())
        };
        let index = |entries: &[Option<&str>]| Index { manifests: entries.iter().map(|name| entry(*name)).collect() };
        assert!(index(&[None]).component().is_ok());
        assert_eq!(index(&[Some("amd64"), Some("wasm")]).component().unwrap().platform, entry(Some("wasm")).platform);
        assert!(index(&[Some("amd64"), Some("arm64")]).component().is_err());
        assert!(index(&[Some("wasm"), Some("wasm")]).component().is_err());
        assert!(index(&[]).component().is_err());
    }
}
