//! Builds the tools listed in `go.mod`, once per version of that file.

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

/// Embedded, so that a test program copied to another machine can still build.
const GO_MOD: &str = include_str!("../go.mod");
const GO_SUM: &str = include_str!("../go.sum");
/// The files that identify cargo's target folder: the first caches compiler information, the second marks target folders
/// created by cargo. Either can be missing.
const TARGET_MARKERS: [&str; 2] = [".rustc_info.json", "CACHEDIR.TAG"];
/// A test program is in `target/<triple>/<profile>/deps`. Other caches with such files can exist further up.
const LEVELS_BELOW_TARGET: usize = 4;
/// The last element of this package path is not the name of the program.
const ETCD_PACKAGE: &str = "go.etcd.io/etcd/server/v3";

/// Builds the programs of `names` that are missing and returns their folder. Concurrent processes wait for the first.
pub(crate) fn build(names: &[&str]) -> Result<PathBuf> {
    build_in(&target_folder()?.join("control-plane"), names)
}

fn build_in(root: &Path, names: &[&str]) -> Result<PathBuf> {
    fs::create_dir_all(root).with_context(|| format!("failed to create {}", root.display()))?;
    let lock_file = root.join("lock");
    let lock = File::create(&lock_file).with_context(|| format!("failed to create {}", lock_file.display()))?;
    let lock_error = || format!("failed to lock {}", lock_file.display());

    let bin = root.join("bin");
    let stamp_file = root.join("stamp");
    let stamp = stamp()?;
    let is_current = || fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp);
    let missing = || names.iter().copied().filter(|name| !bin.join(name).is_file()).collect::<Vec<_>>();

    // Reading needs only a shared lock, so a process that has to wait for it waits for a build.
    match lock.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            log("another process is building the control plane; waiting for it");
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
        build_missing(root, &bin, &missing)?;
    }
    Ok(bin)
}

fn build_missing(root: &Path, bin: &Path, missing: &[&str]) -> Result<()> {
    let module = root.join(format!("module-{}", process::id()));
    remove_folder(&module)?;
    fs::create_dir_all(&module).with_context(|| format!("failed to create {}", module.display()))?;
    fs::write(module.join("go.mod"), GO_MOD).and_then(|()| fs::write(module.join("go.sum"), GO_SUM))?;
    let result = check_go(&module).and_then(|()| {
        log(&format!(
            "building {} from source (about 7 minutes on two cores, once; cached in {})",
            missing.join(", "),
            bin.display()
        ));
        for (number, name) in missing.iter().enumerate() {
            let start = Instant::now();
            install(&module, name)?;
            let built = module.join("bin").join(program_name(package(name)?));
            // Only complete programs get their final name.
            fs::rename(&built, bin.join(name)).with_context(|| format!("go did not build {}", built.display()))?;
            log(&format!("built {name} ({} of {}) in {:.0?}", number + 1, missing.len(), start.elapsed()));
        }
        Ok(())
    });
    remove_folder(&module)?;
    result
}

fn install(module: &Path, name: &str) -> Result<()> {
    let status = go(module)
        .env("CGO_ENABLED", "0")
        .env("GOBIN", module.join("bin"))
        .args(["install", "-trimpath", "-ldflags", &linker_flags()?, package(name)?])
        .status()
        .context("failed to start `go`")?;
    ensure!(status.success(), "`go install {}` failed ({status}); see its output above", package(name)?);
    Ok(())
}

/// Reports a missing or unsuitable Go before anything is built.
fn check_go(module: &Path) -> Result<()> {
    let needed = line_of_go_mod("go ").unwrap_or("a recent version");
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

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    // A workspace file or flags of the user would change the build.
    command
        .current_dir(module)
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    command
}

/// Returns the linker flags that set the version of kubectl and the API server, which reject the default version 0.0.
fn linker_flags() -> Result<String> {
    let version = line_of_go_mod("k8s.io/kubernetes ").context("go.mod requires no k8s.io/kubernetes")?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let place = "k8s.io/component-base/version";
    Ok(format!("-s -w -X {place}.gitVersion={version} -X {place}.gitMajor={major} -X {place}.gitMinor={minor}"))
}

/// Returns the word after `start` on its line in go.mod.
fn line_of_go_mod(start: &str) -> Option<&'static str> {
    GO_MOD.lines().find_map(|line| line.trim().strip_prefix(start)?.split_whitespace().next())
}

/// Returns the package of a program from the tools in go.mod.
fn package(name: &str) -> Result<&'static str> {
    let tools = GO_MOD.split_once("tool (").and_then(|(_, rest)| rest.split_once(')'));
    let (tools, _) = tools.context("go.mod has no list of tools")?;
    let mut packages = tools.lines().map(str::trim);
    packages
        .find(|package| if name == "etcd" { *package == ETCD_PACKAGE } else { program_name(package) == name })
        .ok_or_else(|| anyhow!("go.mod lists no tool named {name}"))
}

/// Returns the name `go install` gives the program of a package: the last path element that is not a version.
fn program_name(package: &str) -> &str {
    let is_version = |element: &str| {
        element.strip_prefix('v').is_some_and(|rest| rest.chars().all(|character| character.is_ascii_digit()))
    };
    package.rsplit('/').find(|element| !is_version(element)).unwrap_or(package)
}

fn stamp() -> Result<String> {
    let mut hash = Sha256::new();
    for part in [GO_MOD, GO_SUM, &linker_flags()?, env::consts::OS, env::consts::ARCH] {
        hash.update(part);
        hash.update([0]);
    }
    Ok(format!("{:x}", hash.finalize()))
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
            package(component.program()).expect("a package");
        }
        assert_eq!(package("kubectl").expect("a package"), "k8s.io/kubernetes/cmd/kubectl");
        assert_eq!(package("helm").expect("a package"), "helm.sh/helm/v4/cmd/helm");
        for name in ["kubelet", "kube-proxy"] {
            package(name).expect("a package");
        }
        package("containerd").expect_err("go.mod does not list it");
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
        let flags = linker_flags().expect("a version");
        let version = line_of_go_mod("k8s.io/kubernetes ").expect("a version");
        assert!(version.starts_with("v1."), "{version}");
        assert!(flags.contains(&format!("gitVersion={version} ")), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
    }
}
