//! Builds the tools listed in a `go.mod`, once per version of that file.

use std::{
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{self, Command},
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::tools::log;

/// A Go module with its programs, which are built into a folder of their own. The files are embedded, so that a test program
/// copied to another machine can still build.
pub(crate) struct Module {
    /// The name of its folder in cargo's target folder.
    folder: &'static str,
    /// As in "building ...".
    description: &'static str,
    /// As in "about ... on two cores".
    duration: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// The paths and contents of programs that belong to the module itself.
    sources: &'static [(&'static str, &'static str)],
    linker_flags: fn(&Module) -> Result<String>,
}

/// Kubernetes, Helm and what a control plane for tests needs.
pub(crate) const CONTROL_PLANE: Module = Module {
    folder: "control-plane",
    description: "the control plane",
    duration: "7 minutes",
    go_mod: include_str!("../go.mod"),
    go_sum: include_str!("../go.sum"),
    sources: &[],
    linker_flags: Module::kubernetes_linker_flags,
};

/// OCI registries. Apart from [`CONTROL_PLANE`], so that neither determines versions of dependencies of the other.
pub(crate) const REGISTRY: Module = Module {
    folder: "registry",
    description: "the registry",
    duration: "2 minutes",
    go_mod: include_str!("../registry/go.mod"),
    go_sum: include_str!("../registry/go.sum"),
    sources: &[
        ("htpasswd/main.go", include_str!("../registry/htpasswd/main.go")),
        ("referrers/main.go", include_str!("../registry/referrers/main.go")),
        ("token-server/main.go", include_str!("../registry/token-server/main.go")),
    ],
    linker_flags: |_| Ok("-s -w".to_string()),
};

/// The files that identify cargo's target folder: the first caches compiler information, the second marks target folders
/// created by cargo. Either can be missing.
const TARGET_MARKERS: [&str; 2] = [".rustc_info.json", "CACHEDIR.TAG"];
/// A test program is in `target/<triple>/<profile>/deps`. Other caches with such files can exist further up.
const LEVELS_BELOW_TARGET: usize = 4;
/// The last element of this package path is not the name of the program.
const ETCD_PACKAGE: &str = "go.etcd.io/etcd/server/v3";

impl Module {
    /// Builds the programs of `names` that are missing and returns their folder. Concurrent processes wait for the first.
    pub(crate) fn build(&self, names: &[&str]) -> Result<PathBuf> {
        self.build_in(&target_folder()?.join(self.folder), names)
    }

    fn build_in(&self, root: &Path, names: &[&str]) -> Result<PathBuf> {
        fs::create_dir_all(root).with_context(|| format!("failed to create {}", root.display()))?;
        let lock_file = root.join("lock");
        let lock = File::create(&lock_file).with_context(|| format!("failed to create {}", lock_file.display()))?;
        let lock_error = || format!("failed to lock {}", lock_file.display());

        let bin = root.join("bin");
        let stamp_file = root.join("stamp");
        let stamp = self.stamp()?;
        let is_current = || fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp);
        let missing = || names.iter().copied().filter(|name| !bin.join(name).is_file()).collect::<Vec<_>>();

        // Reading needs only a shared lock, so a process that has to wait for it waits for a build.
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                log(&format!("another process is building {}; waiting for it", self.description));
                lock.lock_shared().with_context(lock_error)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(lock_error),
        }
        if is_current() && missing().is_empty() {
            return Ok(bin);
        }
        lock.unlock().and_then(|()| lock.lock()).with_context(lock_error)?;
        if !is_current() {
            // Remove the old programs before the stamp is written: the programs in the folder always match the stamp.
            remove_folder(&bin)?;
            fs::create_dir_all(&bin).with_context(|| format!("failed to create {}", bin.display()))?;
            fs::write(&stamp_file, &stamp).with_context(|| format!("failed to write {}", stamp_file.display()))?;
        }
        // Another process may have built them between the two locks.
        let missing = missing();
        if !missing.is_empty() {
            self.build_missing(root, &bin, &missing)?;
        }
        Ok(bin)
    }

    fn build_missing(&self, root: &Path, bin: &Path, missing: &[&str]) -> Result<()> {
        let module = root.join(format!("module-{}", process::id()));
        remove_folder(&module)?;
        self.write(&module).with_context(|| format!("failed to write into {}", module.display()))?;
        let result = self.check_go(&module).and_then(|()| {
            log(&format!(
                "building {} from source (about {} on two cores, once; cached in {})",
                missing.join(", "),
                self.duration,
                bin.display()
            ));
            for (number, name) in missing.iter().enumerate() {
                let start = Instant::now();
                self.install(&module, name)?;
                let built = module.join("bin").join(program_name(self.package(name)?));
                // Only complete programs get their final name.
                fs::rename(&built, bin.join(name)).with_context(|| format!("go did not build {}", built.display()))?;
                log(&format!("built {name} ({} of {}) in {:.0?}", number + 1, missing.len(), start.elapsed()));
            }
            Ok(())
        });
        remove_folder(&module)?;
        result
    }

    /// Writes the files of the module into `folder`.
    fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        for (path, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)].iter().chain(self.sources) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    fn install(&self, module: &Path, name: &str) -> Result<()> {
        let status = go(module)
            .env("CGO_ENABLED", "0")
            .env("GOBIN", module.join("bin"))
            .args(["install", "-trimpath", "-ldflags", &(self.linker_flags)(self)?, self.package(name)?])
            .status()
            .context("failed to start `go`")?;
        ensure!(status.success(), "`go install {}` failed ({status}); see its output above", self.package(name)?);
        Ok(())
    }

    /// Reports a missing or unsuitable Go before anything is built.
    fn check_go(&self, module: &Path) -> Result<()> {
        let needed = self.line_of_go_mod("go ").unwrap_or("a recent version");
        let output = match go(module).args(["list", "-m"]).output() {
            Ok(output) => output,
            Err(error) => {
                bail!("building needs Go {needed} or later; failed to start `go` ({error}); see https://go.dev/dl")
            }
        };
        ensure!(
            output.status.success(),
            "building needs Go {needed} or later; `go` reports: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Returns the linker flags that set the version of kubectl and the API server, which reject the default version 0.0.
    fn kubernetes_linker_flags(&self) -> Result<String> {
        let version = self.line_of_go_mod("k8s.io/kubernetes ").context("go.mod requires no k8s.io/kubernetes")?;
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let place = "k8s.io/component-base/version";
        Ok(format!("-s -w -X {place}.gitVersion={version} -X {place}.gitMajor={major} -X {place}.gitMinor={minor}"))
    }

    /// Returns the word after `start` on its line in go.mod.
    fn line_of_go_mod(&self, start: &str) -> Option<&'static str> {
        self.go_mod.lines().find_map(|line| line.trim().strip_prefix(start)?.split_whitespace().next())
    }

    /// Returns the package of a program from the tools in go.mod.
    fn package(&self, name: &str) -> Result<&'static str> {
        let tools = self.go_mod.split_once("tool (").and_then(|(_, rest)| rest.split_once(')'));
        let (tools, _) = tools.context("go.mod has no list of tools")?;
        let mut packages = tools.lines().map(str::trim);
        packages
            .find(|package| if name == "etcd" { *package == ETCD_PACKAGE } else { program_name(package) == name })
            .ok_or_else(|| anyhow!("go.mod lists no tool named {name}"))
    }

    fn stamp(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let flags = (self.linker_flags)(self)?;
        let parts = [self.go_mod, self.go_sum, &flags, env::consts::OS, env::consts::ARCH];
        for part in parts.into_iter().chain(self.sources.iter().flat_map(|(path, text)| [*path, *text])) {
            hash.update(part);
            hash.update([0]);
        }
        Ok(format!("{:x}", hash.finalize()))
    }
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    // A workspace file or flags of the user would change the build, and so would the repository around the folder.
    command
        .current_dir(module)
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    command
}

/// Returns the name `go install` gives the program of a package: the last path element that is not a version.
fn program_name(package: &str) -> &str {
    let is_version = |element: &str| {
        element.strip_prefix('v').is_some_and(|rest| rest.chars().all(|character| character.is_ascii_digit()))
    };
    package.rsplit('/').find(|element| !is_version(element)).unwrap_or(package)
}

/// Returns cargo's target folder. A test program is in it, wherever it is configured; the fallbacks are for doc tests,
/// which are built elsewhere.
fn target_folder() -> Result<PathBuf> {
    let program = env::current_exe().context("failed to determine the path of this program")?;
    if let Some(folder) = target_folder_of(&program) {
        return Ok(folder.to_path_buf());
    }
    if let Some(folder) = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        return std::path::absolute(folder).context("invalid CARGO_TARGET_DIR");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the crate has moved")?;
    Ok(workspace.join("target"))
}

fn target_folder_of(program: &Path) -> Option<&Path> {
    let mut folders = program.ancestors().skip(1).take(LEVELS_BELOW_TARGET);
    folders.find(|folder| TARGET_MARKERS.iter().any(|marker| folder.join(marker).is_file()))
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_lists_every_program() {
        for component in crate::Component::ALL {
            CONTROL_PLANE.package(component.program()).expect("a package");
        }
        assert_eq!(CONTROL_PLANE.package("kubectl").expect("a package"), "k8s.io/kubernetes/cmd/kubectl");
        assert_eq!(CONTROL_PLANE.package("helm").expect("a package"), "helm.sh/helm/v4/cmd/helm");
        for name in ["kubelet", "kube-proxy"] {
            CONTROL_PLANE.package(name).expect("a package");
        }
        CONTROL_PLANE.package("containerd").expect_err("go.mod does not list it");
        for name in ["registry", "referrers", "htpasswd", "token-server"] {
            REGISTRY.package(name).expect("a package");
        }
    }

    #[test]
    fn program_names_match_those_of_go_install() {
        assert_eq!(program_name("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(program_name("sigs.k8s.io/kwok/cmd/kwok"), "kwok");
    }

    #[test]
    fn the_target_folder_is_identified_by_the_marker_files_of_cargo() {
        let outer = tempfile::tempdir().expect("a folder");
        fs::write(outer.path().join("CACHEDIR.TAG"), "").expect("a file");
        for marker in TARGET_MARKERS {
            let target = outer.path().join("a/b").join(marker).join("target");
            fs::create_dir_all(&target).expect("a folder");
            let program = target.join("triple/debug/deps/test");
            assert_eq!(target_folder_of(&program), None, "other caches further up do not count");
            fs::write(target.join(marker), "").expect("a file");
            assert_eq!(target_folder_of(&program), Some(&*target));
            assert_eq!(target_folder_of(&target.join("debug/program")), Some(&*target));
        }
    }

    #[test]
    fn the_version_comes_from_go_mod() {
        let flags = CONTROL_PLANE.kubernetes_linker_flags().expect("a version");
        let version = CONTROL_PLANE.line_of_go_mod("k8s.io/kubernetes ").expect("a version");
        assert!(version.starts_with("v1."), "{version}");
        assert!(flags.contains(&format!("gitVersion={version} ")), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
    }
}
