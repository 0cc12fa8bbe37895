//! Locates the programs: in `KUBEBUILDER_ASSETS`, or built from source.

use std::{
    env,
    io::{self, Write},
    path::{self, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    component::Component,
    go_build::{CONTROL_PLANE, Module},
    real_node,
};

/// A folder with prebuilt programs; other Kubernetes projects use the same variable.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";
pub(crate) const KUBECTL: &str = "kubectl";
pub(crate) const HELM: &str = "helm";

/// The paths of the programs that were found.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    paths: Vec<(String, PathBuf)>,
}

impl Tools {
    /// Finds kubectl and the programs of `components`, and builds missing ones. Blocks, possibly for minutes.
    pub(crate) fn find(components: &[Component]) -> Result<Self> {
        let (installed, built): (Vec<Component>, Vec<Component>) =
            components.iter().copied().partition(|component| *component == Component::Containerd);
        let names = built.into_iter().map(|component| component.program()).chain([KUBECTL]);
        let mut tools = Self::find_by_name(&CONTROL_PLANE, &names.collect::<Vec<_>>(), assets()?.as_deref())?;
        for component in installed {
            let name = component.program();
            let path = real_node::find_program(name).with_context(|| format!("{name} is not installed"))?;
            tools.paths.push((name.to_string(), path));
        }
        Ok(tools)
    }

    /// Finds programs that no control plane needs, and builds missing ones. Blocks, possibly for minutes.
    pub(crate) fn find_programs(module: &Module, names: &[&str]) -> Result<Self> {
        Self::find_by_name(module, names, assets()?.as_deref())
    }

    fn find_by_name(module: &Module, names: &[&str], assets: Option<&Path>) -> Result<Self> {
        let mut paths = Vec::new();
        let mut missing = Vec::new();
        if let Some(assets) = assets {
            ensure!(
                assets.is_dir(),
                "{ASSETS_VARIABLE} is {}, which is not a folder; correct or unset it",
                assets.display()
            );
        }
        for name in names {
            match assets.map(|assets| assets.join(name)).filter(|path| path.is_file()) {
                Some(path) => paths.push((name.to_string(), path)),
                None => missing.push(*name),
            }
        }
        if !missing.is_empty() {
            let folder = module.build(&missing).with_context(|| match assets {
                Some(assets) => format!(
                    "{ASSETS_VARIABLE} ({}) does not contain {}, and building from source failed",
                    assets.display(),
                    missing.join(", ")
                ),
                None => format!(
                    "failed to build {}; to skip the build, set {ASSETS_VARIABLE} to a folder with these programs",
                    missing.join(", ")
                ),
            })?;
            paths.extend(missing.into_iter().map(|name| (name.to_string(), folder.join(name))));
        }
        Ok(Self { paths })
    }

    /// Returns the path of a requested program.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        let found = self.paths.iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("{name} was not requested"))?.1.clone())
    }
}

/// Returns the folder of prebuilt programs, or `None` if it is not set.
fn assets() -> Result<Option<PathBuf>> {
    let assets = env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty());
    // Components run in another working folder than this process.
    assets.map(path::absolute).transpose().with_context(|| format!("invalid {ASSETS_VARIABLE}"))
}

/// Writes a progress message to standard error. Not with `eprintln`, which the test runner captures until a test fails.
pub(crate) fn log(message: &str) {
    let _ = writeln!(io::stderr(), "test-cluster: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_an_assets_folder_that_does_not_exist() {
        let error = Tools::find_by_name(&CONTROL_PLANE, &["etcd"], Some(Path::new("/does/not/exist")))
            .expect_err("there is no such folder");
        assert_eq!(
            error.to_string(),
            "KUBEBUILDER_ASSETS is /does/not/exist, which is not a folder; correct or unset it"
        );
    }

    #[test]
    fn programs_of_the_assets_are_preferred() {
        let assets = tempfile::tempdir().expect("a folder");
        let etcd = assets.path().join("etcd");
        std::fs::write(&etcd, "").expect("a file");
        let tools = Tools::find_by_name(&CONTROL_PLANE, &["etcd"], Some(assets.path())).expect("it is there");
        assert_eq!(tools.path("etcd").expect("it was requested"), etcd);
        tools.path("kwok").expect_err("it was not requested");
    }
}
