//! The files that are read.

use super::*;

fn file_names(manifests: &Manifests, folder: &TempDir) -> Vec<String> {
    let prefix = folder.path().to_str().unwrap();
    manifests.subjects.iter().map(|subject| source(subject).file.trim_start_matches(prefix).to_owned()).collect()
}

#[test]
fn manifests_in_folders_are_read() {
    let pod = pod("a");
    let folder = folder(&[
        ("b.yaml", pod.as_bytes()),
        ("a.YML", pod.as_bytes()),
        ("sub/deep/c.Json", br#"{"kind": "Pod", "spec": {"containers": [{}]}}"#),
        ("sub/notes.txt", b"\xff"),
        (".hidden.yaml", b"\xff"),
        (".git/x.yaml", b"\xff"),
    ]);
    let manifests = read_paths(&[folder.path()]);
    assert_eq!(manifests.errors, []);
    assert_eq!(file_names(&manifests, &folder), ["/a.YML", "/b.yaml", "/sub/deep/c.Json"]);
    assert_eq!((manifests.files, manifests.documents), (3, 3));
}

#[test]
fn hidden_files_that_kubectl_reads_are_counted() {
    let pod = pod("a");
    let files = [".a.yaml", "b/.a.yml", "b/.json", ".a.YAML", ".a.txt", ".yamllint", ".git/a.yaml", "b.yaml"];
    let folder = folder(&files.map(|name| (name, pod.as_bytes())));
    let manifests = read_paths(&[folder.path()]);
    assert_eq!(manifests.errors, []);
    assert_eq!((manifests.extent.hidden_files, manifests.extent.excluded_files), (3, 0));
    assert_eq!(file_names(&manifests, &folder), ["/b.yaml"]);

    let exclude = ReadOptions { exclude: vec!["b/".to_owned()], ..options() };
    let manifests = read(&[folder.path().to_owned()], &[], &exclude);
    assert_eq!((manifests.extent.hidden_files, manifests.extent.excluded_files), (1, 2));
    // A file that is passed directly is read.
    let manifests = read_paths(&[&folder.path().join(".a.yaml")]);
    assert_eq!((names(&manifests), manifests.extent.hidden_files), (vec!["a"], 0));
    std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_error(&read_paths(&[folder.path()]), (1, 1), &["contains no manifests", "leading dot"]);
}

#[test]
fn a_chart_is_one_error_unless_it_is_rendered_or_excluded() {
    let template = "kind: {{ .Values.kind }}";
    let pod = pod("a");
    let folder = folder(&[
        ("web/Chart.yaml", b"apiVersion: v2\nname: web\n"),
        ("web/values.yaml", b"kind2: Pod\n"),
        ("web/templates/a.yaml", template.as_bytes()),
        ("web/templates/deep/b.yaml", template.as_bytes()),
        ("web/charts/db/Chart.yaml", b"apiVersion: v2\nname: db\n"),
        ("web/charts/db/templates/a.yaml", template.as_bytes()),
        ("web/crds/c.yaml", pod.as_bytes()),
        ("plain/templates/a.yaml", pod.as_bytes()),
    ]);
    let chart = folder.path().join("web");
    let manifests = read_paths(&[folder.path()]);
    assert_eq!(file_names(&manifests, &folder), ["/plain/templates/a.yaml", "/web/crds/c.yaml"]);
    assert_error(
        &manifests,
        (1, 1),
        &["Helm chart", &format!("add --helm-chart {};", chart.display()).replace(';', ",")],
    );

    let rendered = ReadOptions { rendered_charts: vec![folder.path().join("plain/../web")], ..options() };
    assert_eq!(read(&[folder.path().to_owned()], &[], &rendered).errors, []);
    let excluded = ReadOptions { exclude: vec!["web/".to_owned()], ..options() };
    assert_eq!(read(&[folder.path().to_owned()], &[], &excluded).errors, []);
    // A template that is specified itself is read.
    let manifests = read_paths(&[&chart.join("templates/a.yaml")]);
    assert_error(&manifests, (1, 1), &["this looks like a Helm template"]);
}

#[test]
fn a_file_with_several_paths_is_read_once() {
    let folder = folder(&[("x/a.yaml", pod("a").as_bytes()), ("named.txt", pod("b").as_bytes())]);
    let file = folder.path().join("x/a.yaml");
    let manifests =
        read_paths(&[&folder.path().join("named.txt"), &file, folder.path(), &folder.path().join("x/../x"), &file]);
    assert_eq!(manifests.errors, []);
    assert_eq!(names(&manifests), ["b", "a"]);
}

#[test]
fn missing_paths_and_empty_folders_are_errors() {
    let folder = folder(&[("readme.txt", b"")]);
    let missing = folder.path().join("missing\u{1b}[31m.yaml");
    let manifests = read_paths(&[&missing]);
    assert_error(&manifests, (1, 1), &["missing\\u{1b}[31m.yaml does not exist", "check the path"]);
    assert_error(&read_paths(&[folder.path()]), (1, 1), &["contains no manifests", ".yaml, .yml or .json"]);
}

#[test]
fn too_large_files_and_documents_are_rejected() {
    let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
    let limits = Limits { file_bytes: 40, ..Limits::default() };
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { limits, ..options() });
    assert_error(&manifests, (1, 1), &["more than 0 MiB", "split the file"]);
    let limits = Limits { document_bytes: 40, ..Limits::default() };
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { limits, ..options() });
    assert_error(&manifests, (1, 1), &["MiB are allowed"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn symbolic_links_are_followed() {
        let folder = folder(&[("real/a.yaml", pod("a").as_bytes()), ("links/readme", b"")]);
        let links = folder.path().join("links");
        symlink(folder.path().join("real"), links.join("linked")).unwrap();
        symlink(folder.path().join("real/a.yaml"), links.join("again.yaml")).unwrap();
        let manifests = read_paths(&[&links]);
        assert_eq!(manifests.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }

    #[test]
    fn loops_and_dangling_links_are_errors() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["a"]);
        assert_error(&manifests, (1, 1), &["a symbolic link points back"]);
        assert!(manifests.errors[0].source.as_ref().unwrap().file.ends_with("/loop"));

        std::fs::remove_file(folder.path().join("loop")).unwrap();
        for name in ["gone.yaml", ".#lock.yaml", "gone.txt"] {
            symlink("nowhere", folder.path().join(name)).unwrap();
        }
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["a"]);
        assert_error(&manifests, (1, 1), &["target of the symbolic link cannot be read"]);
    }

    #[test]
    fn links_that_cannot_be_followed_are_no_errors_if_they_are_excluded() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes()), ("vendor/b.yaml", b"")]);
        let path = |name: &str| folder.path().join(name);
        symlink(folder.path(), path("vendor/loop")).unwrap();
        symlink("nowhere", path("vendor/gone.yaml")).unwrap();
        symlink("nowhere", path("gone")).unwrap();
        symlink(folder.path(), path("loop")).unwrap();
        let excluding = |patterns: &[&str]| {
            let exclude = patterns.iter().map(|pattern| pattern.to_string()).collect();
            read(&[folder.path().to_owned()], &[], &ReadOptions { exclude, ..options() })
        };
        let manifests = excluding(&["vendor/", "gone/", "/loop"]);
        assert_eq!(manifests.errors, []);
        assert_eq!((names(&manifests), manifests.extent.excluded_files), (vec!["a"], 1));
        assert_eq!(excluding(&["gone", "loop"]).errors.len(), 1);
        assert_eq!(excluding(&[]).errors.len(), 4);

        std::fs::write(path("vendor/.kube-devopsignore"), "[z-a]\n").unwrap();
        assert_eq!(excluding(&["vendor/", "gone/", "loop/"]).errors, []);
        std::fs::write(path(".kube-devopsignore"), "*\n!a.yaml\n[z-a]\n").unwrap();
        assert_error(&excluding(&["*"]), (1, 1), &["invalid pattern"]);
    }

    #[test]
    fn an_unreadable_folder_is_no_error_if_it_is_excluded() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes()), ("data/secret/b.yaml", b"")]);
        let secret = folder.path().join("data/secret");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
        let is_readable = std::fs::read_dir(&secret).is_ok();
        let by = |pattern: &str| {
            let exclude = ReadOptions { exclude: vec![pattern.to_owned()], ..options() };
            read(&[folder.path().to_owned()], &[], &exclude)
        };
        let found = ["secret/", "data/", "*", "other/"].map(by);
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o755)).unwrap();
        if is_readable {
            // The user of this test can read all folders.
            return;
        }
        let errors = found.map(|manifests| manifests.errors.len());
        assert_eq!(errors, [0, 0, 0, 1]);
    }

    #[test]
    fn a_file_without_read_permission_is_an_error() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes()), ("b.yaml", pod("b").as_bytes())]);
        let file = folder.path().join("a.yaml");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::File::open(&file).is_ok() {
            // The user of this test can read all files.
            return;
        }
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["b"]);
        assert_error(&manifests, (1, 1), &["no permission to read", "a.yaml", "chmod"]);
    }

    #[test]
    fn sockets_and_devices_in_folders_are_skipped() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket.yaml")).unwrap();
        symlink("/dev/zero", folder.path().join("device.yaml")).unwrap();
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(manifests.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }

    #[test]
    fn named_pipes_are_read() {
        let folder = folder(&[]);
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if !made.is_ok_and(|status| status.success()) {
            return;
        }
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, pod("a")).unwrap()
        });
        let manifests = read_paths(&[&pipe]);
        writer.join().unwrap();
        assert_eq!(manifests.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }
}
