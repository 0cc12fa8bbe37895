//! The validation of a PolicyModule, as far as it is possible without its source.

use kube_devops_cluster::crd::PolicyModuleSpec;
use kube_devops_policy_modules::validate::validate;

use super::changed::changed;
use crate::response::Verdict;

/// The verdict about a module.
pub fn verdict(body: &[u8]) -> Verdict {
    let spec = match changed::<PolicyModuleSpec>(body) {
        Ok(Some((_, spec))) => spec,
        Ok(None) => return Verdict::Skipped,
        Err(error) => {
            // A newer version of the custom resource may have other fields. The status of the module says more.
            tracing::warn!("a PolicyModule was not validated: failed to read it: {error}");
            return Verdict::Skipped;
        }
    };
    match validate(&spec) {
        Ok(()) => Verdict::Skipped,
        Err(reason) => Verdict::Invalid(reason),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(object: &Value) -> Vec<u8> {
        let request = json!({ "uid": "1", "object": object });
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        serde_json::to_vec(&review).unwrap()
    }

    #[test]
    fn an_invalid_reference_is_denied_and_a_valid_one_is_not() {
        let module = |reference: &str| json!({ "metadata": { "name": "labels" }, "spec": { "source": { "oci": { "reference": reference } } } });
        assert_eq!(verdict(&review(&module("host.example/labels:1"))), Verdict::Skipped);
        let denied = verdict(&review(&module("labels")));
        assert!(
            matches!(&denied, Verdict::Invalid(reason) if reason.contains("spec.source.oci.reference")),
            "{denied:?}"
        );
        assert_eq!(verdict(b"{}"), Verdict::Skipped, "it never fails closed");
    }
}
