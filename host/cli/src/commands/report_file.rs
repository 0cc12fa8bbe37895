//! The files that reports and modules are written to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::arguments::OutputTarget;

/// Rejects outputs of which one would replace another, or an input.
pub fn check<'p>(outputs: &[OutputTarget], inputs: impl Iterator<Item = &'p Path>) -> Result<()> {
    if outputs.iter().filter(|output| output.file.is_none()).count() > 1 {
        bail!("multiple output formats for standard output; write all but one to a file, as in -o sarif=result.sarif");
    }
    let files = outputs.iter().filter_map(|output| output.file.as_deref()).filter(is_replaced);
    let files: Vec<(&Path, PathBuf)> = files.map(|file| (file, location(file))).collect();
    for (index, (file, at)) in files.iter().enumerate() {
        if files[..index].iter().any(|(_, other)| other == at) {
            bail!("two reports would be written to {}; write each to its own file", file.display());
        }
    }
    for input in inputs.map(location) {
        let is_read = |(file, at): &&(&Path, PathBuf)| {
            file.is_file() && (*at == input || at.starts_with(&input) && may_be_read(file))
        };
        if let Some((file, _)) = files.iter().find(is_read) {
            bail!("the report would replace {}, which this command reads; write it to another file", file.display());
        }
    }
    Ok(())
}

/// Whether an existing file in a folder, chart or kustomization can be a part of it, rather than an earlier report.
fn may_be_read(file: &Path) -> bool {
    const EXTENSIONS: [&str; 4] = ["yaml", "yml", "json", "tpl"];
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let has_extension = extension.is_none_or(|extension| EXTENSIONS.contains(&&*extension));
    has_extension && !is_report(file).unwrap_or(false)
}

/// Whether a file is empty, or begins as a report in JSON, YAML or SARIF does.
fn is_report(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(1024).read_to_end(&mut start)?;
    let start = String::from_utf8_lossy(&start);
    let is_yaml = start.starts_with("score: ") && start.contains("\nclassification: ");
    let is_json = start.starts_with("{\n  \"score\": ") && start.contains("\n  \"classification\": ");
    let is_sarif = start.starts_with("{\n  \"$schema\": ") && start.contains("/sarif-schema-");
    Ok(start.is_empty() || is_yaml || is_json || is_sarif)
}

/// Whether writing replaces the content: not that of a pipe or a device.
fn is_replaced(file: &&Path) -> bool {
    !fs::metadata(file).is_ok_and(|metadata| !metadata.is_file())
}

/// The absolute path of a file, which need not exist.
fn location(file: &Path) -> PathBuf {
    let absolute = || {
        let folder = fs::canonicalize(folder(file)).ok()?;
        Some(folder.join(file.file_name()?))
    };
    fs::canonicalize(file).ok().or_else(absolute).unwrap_or_else(|| file.to_owned())
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file: completely or not at all if it is a regular one, and through it if it is a pipe or a device. A symbolic link stays
/// one, and an existing file keeps its permissions. An existing file that cannot be replaced, because its folder is read-only or it is
/// a mount of its own, is overwritten.
pub fn write(file: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let existing = fs::metadata(file).ok();
    if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        return content(&mut OpenOptions::new().write(true).open(file)?);
    }
    let permissions = existing.map_or(Permissions::from_mode(0o644), |metadata| metadata.permissions());
    let file = match fs::canonicalize(file) {
        Ok(file) => file,
        // Its target does not exist yet.
        Err(_) if file.is_symlink() => return content(&mut File::create(file)?),
        Err(_) => file.to_owned(),
    };
    let mut written = match tempfile::Builder::new().permissions(permissions).tempfile_in(folder(&file)) {
        Ok(written) => written,
        Err(_) if file.is_file() => {
            let mut bytes = Vec::new();
            content(&mut bytes)?;
            return Ok(fs::write(&file, bytes)?);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the folder {} does not exist", folder(&file).display())
        }
        // The error names the temporary file, which the user has not chosen.
        Err(error) => return Err(io::Error::from(error.kind()).into()),
    };
    content(&mut written)?;
    match written.persist(&file) {
        Ok(_) => Ok(()),
        Err(failed) if file.is_file() => Ok(fs::write(&file, fs::read(failed.file.path())?)?),
        Err(failed) => Err(failed.error.into()),
    }
}

/// Writes bytes to a file, as [`write`] does. The error names the file.
pub fn write_bytes(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, |out| Ok(out.write_all(bytes)?)).with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::output::Format;

    fn write_text(file: &Path, text: &str) {
        write(file, |out| Ok(out.write_all(text.as_bytes())?)).unwrap();
    }

    #[test]
    fn links_and_permissions_of_existing_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        write_text(&link, "after");
        assert!(link.is_symlink() && fs::read_to_string(&file).unwrap() == "after");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let dangling = folder.path().join("dangling");
        symlink("new", &dangling).unwrap();
        write_text(&dangling, "new");
        assert!(dangling.is_symlink() && fs::read_to_string(folder.path().join("new")).unwrap() == "new");
        assert!(write(&folder.path().join("none/file"), |_| Ok(())).is_err());
        assert!(write(folder.path(), |_| Ok(())).is_err());
    }

    #[test]
    fn a_missing_folder_is_named_and_not_the_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("none/report"), |_| Ok(())).unwrap_err().to_string();
        assert_eq!(error, format!("the folder {} does not exist", folder.path().join("none").display()));
    }

    #[test]
    fn a_failure_leaves_the_previous_report() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "before").unwrap();
        write(&file, |out| {
            out.write_all(b"half")?;
            bail!("failed")
        })
        .unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), "before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_stays_a_pipe_and_its_reader_receives_the_report() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write_text(&pipe, "report");
        assert_eq!(reader.join().unwrap(), "report");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
        write_text(Path::new("/dev/null"), "report");
    }

    #[test]
    fn a_report_replaces_neither_another_report_nor_an_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("pod.yaml"), "").unwrap();
        symlink("pod.yaml", path("link.yaml")).unwrap();
        let outputs = |files: &[PathBuf]| -> Vec<OutputTarget> {
            files.iter().map(|file| OutputTarget { format: Format::Json, file: Some(file.clone()) }).collect()
        };
        let rejects = |files: &[PathBuf], inputs: &[PathBuf]| {
            check(&outputs(files), inputs.iter().map(PathBuf::as_path)).err().map(|error| error.to_string())
        };
        assert_eq!(rejects(&[path("a"), path("b")], &[path("pod.yaml"), path("")]), None);
        let same = rejects(&[path("a"), path("./a")], &[]).unwrap();
        assert!(same.starts_with("two reports would be written to "), "{same}");
        let input = rejects(&[path("link.yaml")], &[path("pod.yaml")]).unwrap();
        assert!(input.contains("which this command reads"), "{input}");
        assert_eq!(rejects(&["/dev/null".into(), "/dev/null".into()], &["/dev/null".into()]), None);
    }

    #[test]
    fn a_report_replaces_earlier_reports_in_a_folder_of_manifests_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("templates")).unwrap();
        let rejects = |name: &str, content: Option<&str>| {
            let file = folder.path().join(name);
            let _ = content.map(|content| fs::write(&file, content).unwrap());
            let outputs = [OutputTarget { format: Format::Json, file: Some(file) }];
            check(&outputs, [folder.path()].into_iter()).is_err()
        };
        for name in ["new.yaml", "templates/new.json"] {
            assert!(!rejects(name, None), "{name}");
        }
        let manifest = "apiVersion: v1\nkind: Pod\nscore: 1\nclassification: 2\n";
        for name in ["pod.yaml", "pod.YML", "templates/pod.json", "templates/_helpers.tpl", "Kustomization"] {
            assert!(rejects(name, Some(manifest)), "{name}");
        }
        let reports = [
            ("report.json", "{\n  \"score\": null,\n  \"classification\": null,\n"),
            ("report.yaml", "score: 90\nclassification: Healthy\n"),
            ("sarif.json", "{\n  \"$schema\": \"https://example.com/sarif-schema-2.1.0.json\",\n"),
            ("empty.yaml", ""),
            ("report.txt", "text"),
        ];
        for (name, content) in reports {
            assert!(!rejects(name, Some(content)), "{name}");
        }
    }
}
