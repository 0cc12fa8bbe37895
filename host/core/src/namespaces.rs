//! Which namespaces belong to the system and are left alone.

use std::collections::BTreeSet;

/// The namespaces that are excluded by their name.
const NAMED: [&str; 5] = ["kube-system", "kube-public", "kube-node-lease", "cert-manager", "istio-system"];

/// The namespaces that are neither judged nor mended.
///
/// Whoever may create namespaces can call one `x-system` and so escape every check; [`SystemNamespaces::exact`] leaves
/// out that pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemNamespaces {
    named: BTreeSet<String>,
    suffix: bool,
}

impl Default for SystemNamespaces {
    /// The well-known ones, and every namespace whose name ends in `-system`.
    fn default() -> Self {
        Self { named: NAMED.map(str::to_owned).into(), suffix: true }
    }
}

impl SystemNamespaces {
    /// Nothing is excluded.
    pub fn none() -> Self {
        Self { named: BTreeSet::new(), suffix: false }
    }

    /// Excludes only what is named, not every `*-system`.
    pub fn exact(self) -> Self {
        Self { suffix: false, ..self }
    }

    /// Excludes more namespaces by name.
    pub fn and(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.named.extend(more);
        self
    }

    /// Those that are excluded by name.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }

    /// Whether every `*-system` is excluded.
    pub fn has_suffix(&self) -> bool {
        self.suffix
    }

    /// Whether the namespace is excluded.
    pub fn contains(&self, namespace: &str) -> bool {
        self.named.contains(namespace) || (self.suffix && namespace.ends_with("-system"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_the_named_and_the_suffix() {
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
