//! The Helm charts in a folder: their templates are no manifests before Helm renders them.
//!
//! <https://helm.sh/docs/topics/charts/#the-chart-file-structure>

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kube_devops_core::text::escape_controls;

use crate::problem::Problem;

/// The name of the file that describes a chart.
pub(crate) const NAME: &str = "Chart.yaml";

/// The folders of a chart with templates, and with charts that it depends on.
const RENDERED: [&str; 2] = ["templates", "charts"];

/// The charts of a folder.
#[derive(Debug, Default)]
pub(crate) struct Charts {
    folders: BTreeSet<PathBuf>,
    rendered: BTreeSet<PathBuf>,
}

impl Charts {
    /// No charts yet. `rendered` are the folders of charts that are evaluated separately.
    pub fn new(rendered: &[PathBuf]) -> Self {
        let rendered = rendered.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        Self { folders: BTreeSet::new(), rendered }
    }

    /// Adds the chart that a file describes.
    pub fn add(&mut self, file: &Path) {
        self.folders.extend(file.parent().map(Path::to_owned));
    }

    /// Reports whether a file describes a chart.
    pub fn describe(&self, file: &Path) -> bool {
        let folder = file.parent().filter(|_| file.file_name().is_some_and(|name| name == NAME));
        folder.is_some_and(|folder| self.folders.contains(folder))
    }

    /// Returns the problem of a chart, by the file that describes it. A chart that is evaluated separately has none, and neither has one
    /// within a chart, which is a part of it.
    pub fn problem(&self, file: &Path) -> Option<Problem> {
        let folder = file.parent().filter(|_| self.describe(file) && !self.contain_template(file))?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if folder.canonicalize().is_ok_and(|folder| self.rendered.contains(&folder)) {
            return None;
        }
        let folder = escape_controls(&folder.to_string_lossy());
        Some(Problem::new(format!(
            "the templates of a Helm chart are evaluated after Helm has rendered them; add --helm-chart {folder}, or exclude the \
             chart with --exclude"
        )))
    }

    /// Reports whether a file is rendered by Helm as a part of a chart.
    pub fn contain_template(&self, file: &Path) -> bool {
        let is_rendered = |chart: &Path| {
            let inner = file.strip_prefix(chart).ok().and_then(|inner| inner.components().next());
            inner.is_some_and(|inner| RENDERED.iter().any(|folder| inner.as_os_str() == *folder))
        };
        file.ancestors().skip(1).any(|folder| self.folders.contains(folder) && is_rendered(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_dependencies_belong_to_their_chart() {
        let mut charts = Charts::default();
        for file in ["a/Chart.yaml", "a/charts/b/Chart.yaml", "Chart.yaml"] {
            charts.add(Path::new(file));
        }
        let has_problem = |file: &str| charts.problem(Path::new(file)).is_some();
        assert!(has_problem("a/Chart.yaml") && has_problem("Chart.yaml"));
        assert!(!has_problem("a/charts/b/Chart.yaml") && !has_problem("a/values.yaml") && !has_problem("c/Chart.yaml"));
        let is_template = |file: &str| charts.contain_template(Path::new(file));
        assert!(is_template("a/templates/x/deployment.yaml") && is_template("a/charts/b/templates/x.yaml"));
        assert!(is_template("templates/x.yaml") && is_template("a/charts/b/values.yaml"));
        assert!(!is_template("a/crds/x.yaml") && !is_template("b/templates/x.yaml") && !is_template("a/x.yaml"));
    }
}
