//! Which files are read.

use super::*;

fn file_names(manifests: &Manifests, folder: &TempDir) -> Vec<String> {
    let prefix = folder.path().to_str().unwrap();
    manifests.subjects.iter().map(|subject| source(subject).file.trim_start_matches(prefix).to_owned()).collect()
}

#[test]
fn reads_folders() {
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
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(file_names(&manifests, &folder), ["/a.YML", "/b.yaml", "/sub/deep/c.Json"]);
    assert_eq!((manifests.files, manifests.documents), (3, 3));
}

#[test]
fn reads_a_file_once() {
    let folder = folder(&[("x/a.yaml", pod("a").as_bytes()), ("named.txt", pod("b").as_bytes())]);
    let file = folder.path().join("x/a.yaml");
    let manifests =
        read_paths(&[&folder.path().join("named.txt"), &file, folder.path(), &folder.path().join("x/../x"), &file]);
    assert_eq!(manifests.extent.errors, []);
    assert_eq!(names(&manifests), ["b", "a"]);
}

#[test]
fn says_which_path_is_missing() {
    let folder = folder(&[("readme.txt", b"")]);
    let missing = folder.path().join("missing\u{1b}[31m.yaml");
    let manifests = read_paths(&[&missing]);
    assert_error(&manifests, (1, 1), &["missing\\u{1b}[31m.yaml does not exist", "check the path"]);
    assert_error(&read_paths(&[folder.path()]), (1, 1), &["holds no manifests", ".yaml, .yml or .json"]);
}

#[test]
fn refuses_large_files() {
    let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
    let limits = Limits { file_bytes: 40, ..Limits::default() };
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { limits, ..options() });
    assert_error(&manifests, (1, 1), &["more than 0 MiB", "split the file"]);
    let limits = Limits { document_bytes: 40, ..Limits::default() };
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { limits, ..options() });
    assert_error(&manifests, (1, 1), &["read as one"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn follows_links() {
        let folder = folder(&[("real/a.yaml", pod("a").as_bytes()), ("given/readme", b"")]);
        let given = folder.path().join("given");
        symlink(folder.path().join("real"), given.join("linked")).unwrap();
        symlink(folder.path().join("real/a.yaml"), given.join("again.yaml")).unwrap();
        let manifests = read_paths(&[&given]);
        assert_eq!(manifests.extent.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }

    #[test]
    fn reports_loops_and_dangling_links() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["a"]);
        assert_error(&manifests, (1, 1), &["a symbolic link leads back"]);
        assert!(manifests.extent.errors[0].source.as_ref().unwrap().file.ends_with("/loop"));

        std::fs::remove_file(folder.path().join("loop")).unwrap();
        for name in ["gone.yaml", ".#lock.yaml", "gone.txt"] {
            symlink("nowhere", folder.path().join(name)).unwrap();
        }
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["a"]);
        assert_error(&manifests, (1, 1), &["leads to nothing that can be read"]);
    }

    #[test]
    fn says_which_file_may_not_be_read() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes()), ("b.yaml", pod("b").as_bytes())]);
        let file = folder.path().join("a.yaml");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::File::open(&file).is_ok() {
            // Whoever runs this may read everything.
            return;
        }
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(names(&manifests), ["b"]);
        assert_error(&manifests, (1, 1), &["a.yaml may not be read", "chmod"]);
    }

    #[test]
    fn skips_what_is_no_file_in_folders() {
        let folder = folder(&[("a.yaml", pod("a").as_bytes())]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket.yaml")).unwrap();
        symlink("/dev/zero", folder.path().join("device.yaml")).unwrap();
        let manifests = read_paths(&[folder.path()]);
        assert_eq!(manifests.extent.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }

    #[test]
    fn reads_named_pipes() {
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
        assert_eq!(manifests.extent.errors, []);
        assert_eq!(names(&manifests), ["a"]);
    }
}
