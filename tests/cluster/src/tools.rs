//! Where the programs come from: `KUBEBUILDER_ASSETS`, or our own build.

use std::{
    env,
    io::{self, Write},
    path::{self, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{component::Component, go_build};

/// Names a folder with ready-made programs; other Kubernetes projects use the same variable.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
pub(crate) const KUBECTL: &str = "kubectl";
pub(crate) const HELM: &str = "helm";

/// The programs that were found, each by its path.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    paths: Vec<(String, PathBuf)>,
}

impl Tools {
    /// Finds kubectl and the programs of `components`, and builds those that are not there. That can take minutes, and
    /// blocks.
    pub(crate) fn find(components: &[Component]) -> Result<Self> {
        let names = components.iter().map(|component| component.program()).chain([KUBECTL]);
        Self::find_by_name(&names.collect::<Vec<_>>(), assets()?.as_deref())
    }

    /// Finds a program that no control plane needs, and builds it if it is not there.
    pub(crate) fn find_program(name: &str) -> Result<PathBuf> {
        Self::find_by_name(&[name], assets()?.as_deref())?.path(name)
    }

    fn find_by_name(names: &[&str], assets: Option<&Path>) -> Result<Self> {
        let mut paths = Vec::new();
        let mut missing = Vec::new();
        if let Some(assets) = assets {
            ensure!(assets.is_dir(), "{ASSETS_VARIABLE} is {}, which is no folder; mend or unset it", assets.display());
        }
        for name in names {
            match assets.map(|assets| assets.join(name)).filter(|path| path.is_file()) {
                Some(path) => paths.push((name.to_string(), path)),
                None => missing.push(*name),
            }
        }
        if !missing.is_empty() {
            let folder = go_build::build(&missing).with_context(|| match assets {
                Some(assets) => format!(
                    "{ASSETS_VARIABLE} ({}) lacks {}, and building did not work either",
                    assets.display(),
                    missing.join(", ")
                ),
                None => format!(
                    "cannot build {}; a folder that has them, named by {ASSETS_VARIABLE}, spares the build",
                    missing.join(", ")
                ),
            })?;
            paths.extend(missing.into_iter().map(|name| (name.to_string(), folder.join(name))));
        }
        Ok(Self { paths })
    }

    /// The path of a program that was asked for.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        let found = self.paths.iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("{name} was not looked for"))?.1.clone())
    }
}

/// The folder of ready-made programs, if there is one.
fn assets() -> Result<Option<PathBuf>> {
    let assets = env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty());
    // Components are started in another folder than this process.
    assets.map(path::absolute).transpose().with_context(|| format!("cannot use {ASSETS_VARIABLE}"))
}

/// Says something to the person who waits. Not by `eprintln`, which the test runner keeps to itself until a test fails.
pub(crate) fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "test-cluster: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_that_are_no_folder_are_named_in_the_error() {
        let error =
            Tools::find_by_name(&["etcd"], Some(Path::new("/does/not/exist"))).expect_err("there is no such folder");
        assert_eq!(error.to_string(), "KUBEBUILDER_ASSETS is /does/not/exist, which is no folder; mend or unset it");
    }

    #[test]
    fn programs_of_the_assets_are_preferred() {
        let assets = tempfile::tempdir().expect("a folder");
        let etcd = assets.path().join("etcd");
        std::fs::write(&etcd, "").expect("a file");
        let tools = Tools::find_by_name(&["etcd"], Some(assets.path())).expect("it is there");
        assert_eq!(tools.path("etcd").expect("it was asked for"), etcd);
        tools.path("kwok").expect_err("nobody asked for it");
    }
}
