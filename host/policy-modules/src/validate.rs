//! What can be wrong with a PolicyModule before its source is read.

use kube_devops_cluster::crd::PolicyModuleSpec;
use kube_devops_oci::client::check_ca_bundle;
use kube_devops_oci::{PublicKey, Reference};

/// Checks what the schema cannot: references, keys and certificates.
///
/// # Errors
///
/// The field, and what is wrong with it.
pub fn validate(spec: &PolicyModuleSpec) -> Result<(), String> {
    if let Some(oci) = &spec.source.oci {
        let reference: Result<Reference, _> = oci.reference.parse();
        let reference = reference.map_err(|error| format!("spec.source.oci.reference: {error}"))?;
        if let Some(bundle) = &oci.ca_bundle {
            check_ca_bundle(bundle.as_bytes()).map_err(|error| format!("spec.source.oci.caBundle: {error}"))?;
        }
        if reference.digest().is_some() && oci.interval_seconds.is_some() {
            return Err(
                "spec.source.oci.intervalSeconds: a digest never changes; specify a tag, or no interval".to_owned()
            );
        }
    }
    for (index, key) in spec.verify.iter().flat_map(|verify| &verify.public_keys).enumerate() {
        PublicKey::from_pem(key).map_err(|error| format!("spec.verify.publicKeys[{index}]: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_cluster::crd::{ModuleSource, OciSource, Verification};

    use super::*;

    fn spec(oci: OciSource, keys: &[&str]) -> PolicyModuleSpec {
        let public_keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let verify = (!public_keys.is_empty()).then_some(Verification { public_keys });
        let source = ModuleSource { config_map: None, oci: Some(oci) };
        PolicyModuleSpec { source, verify, ..PolicyModuleSpec::default() }
    }

    fn oci(reference: &str) -> OciSource {
        OciSource { reference: reference.to_owned(), ..OciSource::default() }
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(validate(&PolicyModuleSpec::default()), Ok(()));
        assert_eq!(validate(&spec(oci("host.example/labels:1"), &[])), Ok(()));
        let error = |spec: &PolicyModuleSpec| validate(spec).unwrap_err();
        assert!(error(&spec(oci("labels"), &[])).starts_with("spec.source.oci.reference: "));
        assert!(error(&spec(oci("host.example/a:1"), &["key"])).starts_with("spec.verify.publicKeys[0]: "));
        let bundle = OciSource { ca_bundle: Some("x".to_owned()), ..oci("host.example/a:1") };
        assert!(error(&spec(bundle, &[])).starts_with("spec.source.oci.caBundle: "));
        let pinned = format!("host.example/a@{}", kube_devops_oci::Digest::of(b""));
        let interval = OciSource { interval_seconds: Some(60), ..oci(&pinned) };
        assert!(error(&spec(interval, &[])).starts_with("spec.source.oci.intervalSeconds: "));
    }
}
