//! The metrics of the modules, as docs/metrics.md lists them. Every replica exports its own view.

use std::collections::BTreeMap;

use kube_devops_cluster::ClusterError;
use kube_devops_runtime::metrics::register;
use prometheus::{IntGaugeVec, Opts, Registry};

/// The metrics of the modules. The series of a module are removed with it.
pub struct Metrics {
    loaded: IntGaugeVec,
    ready: IntGaugeVec,
    /// The modules with a series, and whether they are ready.
    known: BTreeMap<String, bool>,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, ClusterError> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        Ok(Self {
            loaded: gauge("policy_module_loaded", "Active modules, by their digests", &["module", "digest"])?,
            ready: gauge(
                "policy_module_ready",
                "Whether the current version of a module is active in this replica (1) or not (0)",
                &["module"],
            )?,
            known: BTreeMap::new(),
        })
    }

    /// Sets the digests of the active modules.
    pub fn set_active(&self, active: &BTreeMap<String, String>) {
        self.loaded.reset();
        for (module, digest) in active {
            self.loaded.with_label_values(&[module, digest]).set(1);
        }
    }

    /// Sets which modules are ready.
    pub fn set_ready(&mut self, ready: BTreeMap<String, bool>) {
        for module in self.known.keys().filter(|module| !ready.contains_key(*module)) {
            let _ = self.ready.remove_label_values(&[module]);
        }
        for (module, &is_ready) in &ready {
            self.ready.with_label_values(&[module]).set(is_ready.into());
        }
        self.known = ready;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn the_series_follow_the_modules() {
        let registry = Registry::new();
        let mut metrics = Metrics::new(&registry).unwrap();
        let series = || {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let ready = |modules: &[(&str, bool)]| modules.iter().map(|&(name, is)| (name.to_owned(), is)).collect();
        metrics.set_active(&BTreeMap::from([("a".to_owned(), "sha256:1".to_owned())]));
        metrics.set_ready(ready(&[("a", true), ("b", false)]));
        let expected = [
            r#"policy_module_loaded{digest="sha256:1",module="a"} 1"#,
            r#"policy_module_ready{module="a"} 1"#,
            r#"policy_module_ready{module="b"} 0"#,
        ];
        assert_eq!(series(), expected);
        metrics.set_active(&BTreeMap::new());
        metrics.set_ready(ready(&[("b", true)]));
        assert_eq!(series(), [r#"policy_module_ready{module="b"} 1"#]);
    }
}
