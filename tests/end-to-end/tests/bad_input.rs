//! `analyze -f` with invalid or malicious input: it never panics or hangs, it reports the objects it could not evaluate with
//! their location, and it evaluates the rest.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use end_to_end::objects::{bad_container, bad_pod, good_container, good_pod, labelled, pod, restarted, with_status};
use end_to_end::{Folder, Ran, kube_devops, root, run, run_with_input};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

/// Evaluates a file or folder, with a JSON report.
fn evaluate(path: impl AsRef<Path>) -> Ran {
    run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(path.as_ref()))
}

/// Evaluates a text between two valid documents of the same file, next to a valid file; the valid documents are always
/// evaluated.
fn evaluate_among_others(text: impl AsRef<[u8]>) -> Ran {
    let valid = |name: &str| bad_pod(name).to_string().into_bytes();
    let file = [&valid("before"), b"\n---\n".as_slice(), text.as_ref(), b"\n---\n", &valid("after")].concat();
    let folder = Folder::with([("broken.yaml", file), ("other.yaml", valid("other"))]);
    evaluate(folder.path())
}

/// Requires one error in the second document, at this line of it, that contains all of these parts, and that the other
/// documents are evaluated. Errors of a whole document are reported in line 0, that of the separator before it.
#[track_caller]
fn assert_rejected(text: &str, line: usize, parts: &[&str]) {
    let ran = evaluate_among_others(text).exits(2);
    let errors = ran.errors();
    assert_eq!(errors.len(), 1, "{text:.200}: {errors:#?}");
    // A document of one line and a separator precede the text.
    let location = format!("broken.yaml:2:{}: ", line + 2);
    assert!(errors[0].starts_with(&location), "{text:.200}: not {location}: {}", errors[0]);
    for part in parts {
        assert!(errors[0].contains(part), "{text:.200}: {part:?} is missing in {}", errors[0]);
    }
    assert_evaluated(&ran, &["after", "before", "other"]);
    assert!(ran.stderr.contains("not everything was evaluated"), "{}", ran.stderr);
}

/// Requires that exactly these objects are evaluated. All of them must have violations.
#[track_caller]
fn assert_evaluated(ran: &Ran, names: &[&str]) {
    let report = ran.json();
    let mut evaluated: Vec<_> =
        report["violations"].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap()).collect();
    evaluated.dedup();
    assert_eq!(evaluated, names);
    assert_eq!(report["subjects"], names.len());
}

#[test]
fn invalid_yaml_is_reported_and_the_rest_is_evaluated() {
    for (text, line, parts) in [
        ("kind: Pod\nspec:\n\tcontainers: []\n", 3, &["tab", "spaces"][..]),
        ("kind: Pod\nmetadata:\n  name: a: b\n", 3, &["invalid YAML"]),
        ("kind: Pod\nmetadata:\n    name: a\n  labels: {}\n", 4, &["indentation"]),
        ("kind: Pod\nspec: \"open\nmore\n", 3, &["quote"]),
        ("kind: Pod\nspec: *nowhere\n", 2, &["alias"]),
        ("kind: Pod\nkind: Pod\nspec: {}\n", 2, &["duplicate key \"kind\" in lines", "`---` between two objects"]),
        (
            "kind: Pod\nmetadata: {name: a}\nspec: {}\nmetadata: {name: b}\n",
            4,
            &["duplicate key \"metadata\" in lines"],
        ),
        ("kind: Pod\nspec:\n  containers:\n  - image: a:1\n    image: b:1\n", 5, &["duplicate key \"image\" in lines"]),
        ("kind: Pod\nspec: \u{1b}[31m\n", 2, &["control character"]),
    ] {
        assert_rejected(text, line, parts);
    }
}

#[test]
fn a_parser_failure_affects_one_document_only() {
    // The parser does not support a tag before a comma.
    let ran = evaluate_among_others("kind: Pod\nx: [!t,a]\n").exits(2);
    assert!(ran.errors()[0].contains("the parser failed on this document"), "{:?}", ran.errors());
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_evaluated(&ran, &["after", "before", "other"]);
}

#[test]
fn helm_templates_are_rejected_with_a_hint() {
    for (text, line) in [
        ("{{ if .Values.x }}\nkind: Pod\n{{ end }}\n", 1),
        ("kind: Pod\nspec:\n  containers:\n  - image: {{ .Values.image }}\n", 4),
        ("kind: Pod\nspec:\n  {{- toYaml .Values.spec | nindent 2 }}\n", 3),
    ] {
        assert_rejected(text, line, &["Helm template", "helm template . | kube-devops analyze -f -"]);
    }
}

#[test]
fn objects_that_the_api_server_rejects_are_errors() {
    for (text, line, parts) in [
        (
            "kind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {}}}",
            1,
            &["Deployment default/d has no containers"][..],
        ),
        ("kind: Deployment\nspec: {template: {spec: {containers: []}}}", 1, &["/spec/template/spec/containers"]),
        ("kind: Deployment\nspec: {}", 1, &["has no containers"]),
        ("kind: Deployment", 1, &["has no containers"]),
        ("kind: CronJob\nspec: {jobTemplate: {}}", 1, &["/spec/jobTemplate/spec/template/spec/containers"]),
        (
            "kind: Pod\nmetadata: {name: p}\nspec: {initContainers: [{image: a}]}",
            1,
            &["Pod default/p has no containers"],
        ),
        ("kind: Pod\nspec:\n  containers:\n  - 5", 4, &["spec.containers[0]", "a map is expected"]),
        ("kind: Pod\nspec:\n  containers: {a: b}", 3, &["spec.containers", "a list is expected"]),
        ("kind: Pod\nspec: text", 2, &["spec", "a map is expected"]),
        ("kind: Pod\nspec:\n  containers:\n  - image: 5", 4, &["spec.containers[0].image", "a string is expected"]),
        ("kind: Pod\nmetadata:\n  labels:\n    a: true\nspec: {containers: [{image: a}]}", 4, &["metadata.labels.a"]),
        (
            "kind: Pod\nspec:\n  restartPolicy: Sometimes\n  containers: [{image: a}]",
            3,
            &["spec.restartPolicy", "Always"],
        ),
        (
            "kind: Pod\nmetadata:\n  creationTimestamp: soon\nspec: {containers: [{image: a}]}",
            3,
            &["metadata.creationTimestamp"],
        ),
    ] {
        assert_rejected(text, line, parts);
    }
}

#[test]
fn an_empty_restart_policy_is_the_default() {
    // The API server defaults it to `Always`, as for null.
    for policy in ["", "''", "null"] {
        let text = format!(
            "kind: Pod\nmetadata: {{name: among}}\nspec:\n  restartPolicy: {policy}\n  containers: [{{image: a}}]"
        );
        let ran = evaluate_among_others(text).exits(0);
        assert_evaluated(&ran, &["after", "among", "before", "other"]);
        assert!(ran.violations().contains(&"missing-liveness Pod/among containers[0]".to_owned()), "{policy}");
    }
}

#[test]
fn invalid_restart_counts_are_errors() {
    // The API server accepts negative numbers.
    for count in ["99999999999999999999999", "1.5", "'5'", "lots", "[1]"] {
        let text = format!(
            "kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: app, image: a}}]}}\n\
             status: {{phase: Running, containerStatuses: [{{name: app, restartCount: {count}}}]}}"
        );
        assert_rejected(&text, 4, &["Pod a", "status.containerStatuses[0].restartCount", "whole number"]);
    }
}

#[test]
fn errors_about_numbers_do_not_name_rust_types() {
    let status = "status: {phase: Running, containerStatuses: [{name: app, restartCount: 99999999999999999999999}]}";
    let text = format!("kind: Pod\nspec: {{containers: [{{name: app, image: a}}]}}\n{status}");
    let errors = evaluate_among_others(text).errors();
    assert!(!errors[0].contains("u128") && !errors[0].contains('`'), "{}", errors[0]);
}

#[test]
fn the_largest_restart_count_is_valid() {
    let folder = Folder::with([("a.json", restarted(good_pod("a"), 4_294_967_295).to_string())]);
    let ran = evaluate(folder.path()).exits(0).is_quiet();
    assert_eq!(ran.json()["violations"][0]["magnitude"], 5);
}

#[test]
fn the_number_of_errors_is_reported_in_the_singular() {
    let folder = Folder::with([("a.yaml", "kind: [\n")]);
    evaluate(folder.path()).exits(2).complains(&["1 error: not everything was evaluated"]);
}

#[test]
fn alias_expansion_attacks_are_rejected() {
    let laughs: String =
        (1..30).map(|index| format!("l{index}: &l{index} [{}]\n", format!("*l{}, ", index - 1).repeat(9))).collect();
    assert_rejected(&format!("kind: Pod\nl0: &l0 lol\n{laughs}"), 9, &["aliases"]);
    let aliases = "- *large\n".repeat(5_000);
    assert_rejected(&format!("kind: Pod\nx: &large {}\ny:\n{aliases}", "x".repeat(1_000_000)), 20, &["aliases"]);
    let nodes = "- {a: b}\n".repeat(10_000);
    assert_rejected(&format!("kind: Pod\nx: &large\n{nodes}y:\n{aliases}"), 10_054, &["aliases"]);
    assert_rejected("kind: Pod\nspec: &a\n  b: *a\n", 3, &["within its own anchor"]);
}

#[test]
fn deep_nesting_is_rejected() {
    for text in [
        format!("kind: Pod\nspec: {}", "[".repeat(100_000)),
        format!("kind: Pod\nspec: {}{}", "{a: ".repeat(100_000), "}".repeat(100_000)),
        format!("kind: Pod\nspec: {}x", "- ".repeat(100_000)),
        format!("kind: Pod\nspec:\n{}", (1..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>()),
        format!("{{\"kind\": \"Pod\", \"spec\": {}", "[".repeat(100_000)),
    ] {
        let ran = evaluate_among_others(&text).exits(2);
        assert_eq!(ran.errors().len(), 1, "{text:.60}: {:#?}", ran.errors());
        assert!(ran.errors()[0].starts_with("broken.yaml:2:"), "{}", ran.errors()[0]);
        assert_evaluated(&ran, &["after", "before", "other"]);
    }
}

#[test]
fn deeply_nested_lists_are_rejected() {
    let mut list = bad_pod("deep");
    for _ in 0..50 {
        list = json!({ "kind": "List", "items": [list] });
    }
    for text in [list.to_string(), serde_norway::to_string(&list).unwrap()] {
        let ran = evaluate_among_others(&text).exits(2);
        assert!(ran.errors()[0].contains("nested"), "{}", ran.errors()[0]);
        assert_evaluated(&ran, &["after", "before", "other"]);
    }
}

#[test]
fn binary_files_and_other_encodings_are_rejected() {
    for (bytes, line, part) in [
        (&b"kind: Pod\nname: gr\xfc\xdfe\n"[..], 2, "not UTF-8"),
        (b"\x7fELF\x02\x01\x00\x00", 1, "binary"),
        (b"kind: Pod\n\x00", 2, "binary"),
        (b"\xff\xfek\x00i\x00n\x00d", 1, "UTF-16"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 1, "binary"),
    ] {
        let folder = Folder::with([("bad.yaml", bytes), ("good.yaml", b"kind: ConfigMap\n")]);
        let ran = evaluate(folder.path()).exits(2);
        let errors = ran.errors();
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
        assert!(errors[0].starts_with(&format!("bad.yaml:1:{line}: ")), "{errors:?}");
        assert_eq!(ran.json()["ignored"], json!({ "ConfigMap": 1 }));
    }
    let ran = run_with_input(kube_devops().args(["analyze", "-f", "-"]), b"\xff\xff".as_slice()).exits(2);
    assert!(ran.stdout.contains("not UTF-8") && ran.stdout.contains("stdin:1"), "{}", ran.stdout);
}

#[test]
fn empty_documents_are_skipped() {
    for text in
        ["", "\n", "---\n", "# only\n# comments\n", "---\n---\n...\n---\n# x\n", "\u{feff}", "null\n", "---\n~\n"]
    {
        let ran = evaluate_among_others(text).exits(0);
        assert_evaluated(&ran, &["after", "before", "other"]);
    }
    for text in ["", "---\n", "# only\n"] {
        let ran = run_with_input(kube_devops().args(["analyze", "-f", "-"]), text).exits(0);
        assert!(ran.stderr.starts_with("warning: nothing was evaluated"), "{}", ran.stderr);
    }
}

#[test]
fn unknown_kinds_are_ignored_and_counted() {
    let text = "kind: Service\n---\nkind: Service\n---\nkind: Certificate\nspec: {template: 5}\n---\n\
                kind: CustomResourceDefinition\nspec: {versions: [{schema: {}}]}\n---\na: b\n";
    let ran = evaluate_among_others(text).exits(0).is_quiet();
    let expected = json!({ "(no kind)": 1, "Certificate": 1, "CustomResourceDefinition": 1, "Service": 2 });
    assert_eq!(ran.json()["ignored"], expected);
    assert_evaluated(&ran, &["after", "before", "other"]);
}

#[test]
fn a_missing_path_is_reported_and_the_others_are_evaluated() {
    let folder = Folder::with([("good.yaml", bad_pod("good").to_string())]);
    let missing = folder.path().join("missing.yaml");
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "-f"]).arg(&missing).arg(folder.path());
    let ran = run(&mut command).exits(2);
    assert_eq!(ran.errors().len(), 1);
    assert!(ran.errors()[0].contains("missing.yaml does not exist"), "{:?}", ran.errors());
    assert_evaluated(&ran, &["good"]);
    evaluate("").exits(2);
    evaluate(folder.path().join("good.yaml/below")).exits(2);
}

#[test]
fn folders_without_manifests_are_errors() {
    for files in [&[][..], &["README.md"], &["deep/.hidden.yaml", ".git/config.yaml"]] {
        let folder = Folder::with(files.iter().map(|name| (name, "kind: Pod\n")));
        let ran = evaluate(folder.path()).exits(2);
        assert!(ran.errors().len() == 1 && ran.errors()[0].contains("contains no manifests"), "{:?}", ran.errors());
    }
}

#[test]
fn a_folder_named_like_a_manifest_is_read_as_a_folder() {
    let folder = Folder::with([("folder.yaml/a.yaml", bad_pod("a").to_string())]);
    assert_evaluated(&evaluate(folder.path()).exits(0), &["a"]);
}

#[test]
fn a_file_named_minus_can_be_evaluated() {
    let folder = Folder::with([("-", bad_pod("file").to_string())]);
    let mut command = kube_devops();
    let ran =
        run_with_input(command.args(["analyze", "-o", "json", "-f", "./-"]).current_dir(folder.path()), "kind: [");
    assert_evaluated(&ran.exits(0), &["file"]);
    let mut command = kube_devops();
    let ran = run_with_input(command.args(["analyze", "-o", "json", "-f", "-"]).current_dir(folder.path()), "");
    assert_evaluated(&ran.exits(0), &[]);
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn symbolic_link_loops_are_errors() {
        let folder = Folder::with([("a/good.yaml", bad_pod("good").to_string())]);
        symlink(folder.path(), folder.path().join("a/loop")).unwrap();
        symlink("self.yaml", folder.path().join("a/self.yaml")).unwrap();
        let ran = evaluate(folder.path()).exits(2);
        assert_eq!(ran.errors().len(), 2, "{:?}", ran.errors());
        assert!(ran.errors().iter().all(|error| error.contains("symbolic link")), "{:?}", ran.errors());
        assert_evaluated(&ran, &["good"]);
        evaluate(folder.path().join("a/self.yaml")).exits(2);
    }

    #[test]
    fn symbolic_links_are_followed_once() {
        let folder = Folder::with([("real/a.yaml", bad_pod("a").to_string())]);
        symlink("real", folder.path().join("link")).unwrap();
        symlink("real/a.yaml", folder.path().join("b.yaml")).unwrap();
        symlink("nowhere", folder.path().join("dangling.txt")).unwrap();
        assert_evaluated(&evaluate(folder.path()).exits(0), &["a"]);
        symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
        let ran = evaluate(folder.path()).exits(2);
        assert!(ran.errors()[0].starts_with("dangling.yaml:1:1: "), "{:?}", ran.errors());
        assert_evaluated(&ran, &["a"]);
    }

    #[test]
    fn unreadable_files_and_folders_are_errors() {
        let folder = Folder::with([
            ("good.yaml", bad_pod("good").to_string()),
            ("locked.yaml", bad_pod("locked").to_string()),
            ("shut/a.yaml", bad_pod("shut").to_string()),
        ]);
        let set = |name: &str, mode: u32| {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set("locked.yaml", 0);
        set("shut", 0);
        let ran = evaluate(folder.path());
        let is_privileged = File::open(folder.path().join("locked.yaml")).is_ok();
        set("shut", 0o755);
        if is_privileged {
            // Permissions do not apply to root.
            assert_evaluated(&ran.exits(0), &["good", "locked", "shut"]);
            return;
        }
        let ran = ran.exits(2);
        let errors = ran.errors();
        assert!(errors.len() == 2 && errors.iter().all(|error| error.contains("no permission to read")), "{errors:?}");
        assert!(errors[0].starts_with("locked.yaml:") && errors[1].starts_with("shut:"), "{errors:?}");
        assert_evaluated(&ran, &["good"]);
    }

    #[test]
    fn pipes_sockets_and_devices_in_a_folder_are_skipped() {
        let folder = Folder::with([("good.yaml", bad_pod("good").to_string())]);
        let pipe = folder.path().join("pipe.yaml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _socket = UnixListener::bind(folder.path().join("socket.yaml")).unwrap();
        symlink("/dev/zero", folder.path().join("zero.yaml")).unwrap();
        symlink("pipe.yaml", folder.path().join("link.yaml")).unwrap();
        assert_evaluated(&evaluate(folder.path()).exits(0), &["good"]);
    }

    #[test]
    fn a_pipe_given_by_name_is_read() {
        let folder = Folder::new();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::write(pipe, bad_pod("piped").to_string()).unwrap())
        };
        assert_evaluated(&evaluate(&pipe).exits(0), &["piped"]);
        writer.join().unwrap();
    }

    #[test]
    fn endless_devices_are_read_up_to_the_size_limit() {
        let ran = evaluate("/dev/zero").exits(2);
        assert!(ran.errors()[0].contains("MiB"), "{:?}", ran.errors());
    }

    #[test]
    fn unusual_file_names_are_read_and_escaped() {
        let folder = Folder::new();
        let names: [&[u8]; 4] = [b"not-utf-8-\xff.yaml", b"\x1b[31m.yaml", b"a\nb.yaml", b"::error::x.yaml"];
        for name in names {
            fs::write(folder.path().join(OsStr::from_bytes(name)), bad_pod("a").to_string() + "\n---\n[").unwrap();
        }
        for format in ["text", "json", "yaml", "sarif", "junit", "github"] {
            let ran = run(kube_devops().args(["analyze", "-o", format, "-f"]).arg(folder.path())).exits(2);
            for line in ran.stdout.lines() {
                assert!(!line.contains(char::is_control), "{format}: {line:?}");
                assert!(!line.trim_start().starts_with("::error::"), "{format}: {line:?}");
            }
        }
        for name in names {
            let ran = evaluate(folder.path().join(OsStr::from_bytes(name))).exits(2);
            assert_eq!(ran.json()["subjects"], 1);
        }
    }
}

#[test]
fn a_pod_with_a_thousand_containers_is_evaluated() {
    let containers: Vec<_> = (0..1_000).map(|index| bad_container(&format!("c{index:04}"))).collect();
    let folder = Folder::with([("a.json", restarted(pod("a", containers), 9).to_string())]);
    let ran = evaluate(folder.path()).exits(0).is_quiet();
    assert_eq!(ran.violations().len(), 4_000);
    assert_eq!((&ran.json()["score"], &ran.json()["subjects"]), (&json!(0), &json!(1)));
    let text = run(kube_devops().args(["analyze", "-f"]).arg(folder.path())).exits(0).stdout;
    assert!(text.lines().count() < 100, "{text}");
}

#[test]
fn long_names_labels_and_images_are_evaluated_and_truncated() {
    let long = "x".repeat(1 << 20);
    let mut object = labelled(bad_pod(&long), json!({ "long": long, (long.clone()): "long" }));
    object["metadata"]["namespace"] = long.as_str().into();
    object["spec"]["containers"][0]["image"] = long.as_str().into();
    let folder = Folder::with([("a.json", object.to_string())]);
    assert_eq!(evaluate(folder.path()).exits(0).is_quiet().violations().len(), 3);
    let text = run(kube_devops().args(["analyze", "-f"]).arg(folder.path())).exits(0).stdout;
    assert!(text.len() < 10_000, "{}", text.len());
    let selected = run(kube_devops().args(["analyze", "-o", "json", "-l", "long", "-f"]).arg(folder.path())).exits(0);
    assert_eq!(selected.json()["subjects"], 1);
}

/// Writes a file of at least `bytes` bytes, piece by piece.
fn write_large(folder: &Folder, name: &str, bytes: usize, piece: impl Fn(usize) -> String) {
    let mut file = BufWriter::new(File::create(folder.path().join(name)).unwrap());
    let mut written = 0;
    for index in 0.. {
        if written >= bytes {
            break;
        }
        let piece = piece(index);
        file.write_all(piece.as_bytes()).unwrap();
        written += piece.len();
    }
    file.flush().unwrap();
}

#[test]
fn a_hundred_megabytes_of_documents_are_evaluated() {
    let folder = Folder::new();
    let note = "x".repeat(400_000);
    write_large(&folder, "large.yaml", 100_000_000, |index| {
        let mut object = good_pod(&format!("p{index}"));
        object["metadata"]["annotations"] = json!({ "note": note });
        format!("---\n{object}\n")
    });
    folder.write("small.yaml", bad_pod("small").to_string());
    let ran = evaluate(folder.path()).exits(0).is_quiet();
    assert_eq!(ran.json()["subjects"], 251);
    assert_eq!(ran.json()["violations"].as_array().unwrap().len(), 3);
}

#[test]
fn a_hundred_megabytes_in_one_line_are_rejected() {
    let folder = Folder::with([("small.yaml", bad_pod("small").to_string())]);
    let line = "x".repeat(1_000_000);
    write_large(&folder, "large.yaml", 100_000_000, |_| line.clone());
    let ran = evaluate(folder.path()).exits(2);
    assert!(ran.errors().len() == 1 && ran.errors()[0].starts_with("large.yaml:1:1: "), "{:?}", ran.errors());
    assert!(ran.errors()[0].contains("MiB"), "{:?}", ran.errors());
    assert_evaluated(&ran, &["small"]);
}

#[test]
fn sparse_files_are_rejected_regardless_of_their_size() {
    let folder = Folder::with([("small.yaml", bad_pod("small").to_string())]);
    for (name, size) in [("hole.yaml", 100_u64 << 20), ("larger.yaml", 1 << 40)] {
        // Sparse files use no disk space.
        File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
    }
    let ran = evaluate(folder.path()).exits(2);
    let errors = ran.errors();
    assert!(errors.len() == 2 && errors[0].contains("binary") && errors[1].contains("more than 512 MiB"), "{errors:?}");
    assert_evaluated(&ran, &["small"]);
}

#[test]
fn the_text_report_shows_the_first_errors_and_counts_all() {
    let folder = Folder::with((0..300).map(|index| (format!("{index:03}.yaml"), "kind: [\n")));
    let ran = run(kube_devops().args(["analyze", "-f"]).arg(folder.path())).exits(2);
    assert!(ran.stdout.contains("300 errors: not everything was evaluated"), "{}", ran.stdout);
    assert!(ran.stdout.contains("... and 280 more errors; -o json lists all"), "{}", ran.stdout);
    assert_eq!(evaluate(folder.path()).errors().len(), 300);
}

#[test]
fn a_pod_that_could_not_be_evaluated_is_not_a_pass() {
    let broken = with_status(pod("a", [good_container("app")]), json!("text"));
    let folder = Folder::with([("a.json", broken.to_string())]);
    let ran = run(kube_devops().args(["analyze", "-f"]).arg(folder.path())).exits(2);
    assert!(!ran.stdout.contains("No violations in "), "{}", ran.stdout);
    assert!(ran.stdout.contains("Not Everything Evaluated"), "{}", ran.stdout);
}

/// A change to a text, at a relative position from 0 to 1.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(f64, u8),
    Remove(f64, usize),
    Insert(f64, Vec<u8>),
    Repeat(f64, usize, usize),
    CutOff(f64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let special: Vec<Vec<u8>> = [
        "---\n", "\t", "&a ", "*a", "{", "}", "[", "]", ": ", "- ", "\"", "'", "|\n", "!!x ", "%", "\0", "\r", "#",
        "<<: ",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    prop_oneof![
        (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (0.0..1.0, 1..40_usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (0.0..1.0, prop::sample::select(special)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (0.0..1.0, 1..200_usize, 1..5_usize).prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        (0.0..1.0).prop_map(Mutation::CutOff),
    ]
}

impl Mutation {
    fn apply(&self, text: &mut Vec<u8>) {
        let place = |at: f64| ((text.len() as f64 * at) as usize).min(text.len().saturating_sub(1));
        let end = |start: usize, length: usize| (start + length).min(text.len());
        match self {
            Self::Replace(at, byte) => {
                let at = place(*at);
                text[at..].iter_mut().take(1).for_each(|old| *old = *byte);
            }
            Self::Remove(at, length) => {
                let start = place(*at);
                text.drain(start..end(start, *length));
            }
            Self::Insert(at, bytes) => {
                let at = place(*at);
                text.splice(at..at, bytes.iter().copied());
            }
            Self::Repeat(at, length, times) => {
                let start = place(*at);
                let part = text[start..end(start, *length)].repeat(*times);
                text.splice(start..start, part);
            }
            Self::CutOff(at) => text.truncate(place(*at)),
        }
    }
}

#[test]
fn mutated_examples_are_evaluated_or_rejected() {
    const FILES: usize = 300;
    let examples: Vec<Vec<u8>> = ["shop/database.yaml", "shop/web.yaml", "staging/checkout.yaml", "legacy/pods.yaml"]
        .map(|name| fs::read(root().join("examples").join(name)).unwrap())
        .to_vec();
    // Seeded, so that a failure is reproducible.
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let mutated = (prop::sample::select(examples), prop::collection::vec(mutation(), 1..4));
    let folder = Folder::new();
    for index in 0..FILES {
        let (mut text, mutations) = mutated.new_tree(&mut runner).unwrap().current();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        folder.write(format!("{index:03}.yaml"), text);
    }
    let mut subjects = 0;
    for format in ["json", "text", "sarif"] {
        let ran = run(kube_devops().args(["analyze", "-o", format, "-f"]).arg(folder.path()));
        assert!(matches!(ran.code, Some(0 | 2)), "{ran:?}");
        if format == "json" {
            subjects = ran.json()["subjects"].as_u64().unwrap();
            let report = ran.json();
            for error in report["errors"].as_array().unwrap() {
                let source = &error["source"];
                assert!(source["line"].as_u64() >= Some(1) && source["document"].as_u64() >= Some(1), "{error}");
                assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
            }
        }
    }
    assert!(subjects > FILES as u64 / 2, "only {subjects} subjects: the mutations destroy too much");
}
