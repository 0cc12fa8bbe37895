//! The system namespaces, which are excluded.

use std::collections::BTreeSet;

/// The namespaces that are excluded by name.
const NAMED: [&str; 5] = ["kube-system", "kube-public", "kube-node-lease", "cert-manager", "istio-system"];

/// The namespaces that are excluded from evaluation and remediation.
///
/// A user who can create namespaces can bypass every check with a namespace such as `x-system`;
/// [`SystemNamespaces::exact`] disables that pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemNamespaces {
    named: BTreeSet<String>,
    suffix: bool,
}

impl Default for SystemNamespaces {
    /// Excludes the well-known namespaces, and every namespace whose name ends in `-system`.
    fn default() -> Self {
        Self { named: NAMED.map(str::to_owned).into(), suffix: true }
    }
}

impl SystemNamespaces {
    /// Excludes nothing.
    pub fn none() -> Self {
        Self { named: BTreeSet::new(), suffix: false }
    }

    /// Excludes namespaces only by name, not by the pattern `*-system`.
    pub fn exact(self) -> Self {
        Self { suffix: false, ..self }
    }

    /// Excludes additional namespaces by name.
    pub fn and(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.named.extend(more);
        self
    }

    /// Returns the namespaces that are excluded by name.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }

    /// Reports whether the pattern `*-system` is excluded.
    pub fn has_suffix(&self) -> bool {
        self.suffix
    }

    /// Reports whether a namespace is excluded.
    pub fn contains(&self, namespace: &str) -> bool {
        self.named.contains(namespace) || (self.suffix && namespace.ends_with("-system"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_excluded_by_name_and_by_suffix() {
        let default = SystemNamespaces::default();
        for (namespace, excluded) in [
            ("kube-system", true),
            ("kube-public", true),
            ("kube-node-lease", true),
            ("cert-manager", true),
            ("istio-system", true),
            ("gatekeeper-system", true),
            ("-system", true),
            ("system", false),
            ("my-systems", false),
            ("production", false),
            ("default", false),
        ] {
            assert_eq!(default.contains(namespace), excluded, "{namespace}");
        }
        let exact = default.exact().and(["platform".to_owned()]);
        assert!(exact.contains("kube-system") && exact.contains("platform"));
        assert!(!exact.contains("x-system"));
        assert!(!SystemNamespaces::none().contains("kube-system"));
    }
}
