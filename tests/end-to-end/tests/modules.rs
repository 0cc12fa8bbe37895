//! `module`: a project of a check is created, built, tested and used without anything from this repository.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::javascript::{copy_example, npm_install};
use end_to_end::objects::{documents, good_pod, labelled};
use end_to_end::operator::policy;
use end_to_end::{Folder, Ran, kube_devops, root, run};
use serde_json::{Value, json};

/// Runs the program in a folder, without cargo's settings for this test.
fn call(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = kube_devops();
    let home = std::env::var_os("HOME").unwrap_or_default();
    // rustup and npm keep their files in the home.
    let cache = folder.join("cache");
    run(command.current_dir(folder).env("HOME", home).env("KUBE_DEVOPS_CACHE_DIR", cache).args(arguments))
}

/// Creates a project in a temporary folder.
fn project(language: &str) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let created = call(folder.path(), &["module", "new", "owner-labels", "--language", language]).exits(0).stdout;
    assert!(created.starts_with("owner-labels created. Next:\n"), "{created}");
    let project = folder.path().join("owner-labels");
    (folder, project)
}

/// Tests the cases of a project, changes an expectation, and uses the component in all commands that know modules.
fn exercise(folder: &Path, project: &Path) {
    let tested = call(folder, &["module", "test", "owner-labels"]).exits(0).stdout;
    assert_eq!(tested, "labels: ok\nsettings: ok\n2 cases, 0 failed\n");
    let module = "owner-labels/owner-labels.wasm";

    // The differences are shown, and accepted with --update.
    let expected = project.join("cases/labels.expected.yaml");
    let text = fs::read_to_string(&expected).unwrap();
    fs::write(&expected, text.replace("has no label team", "has no owner")).unwrap();
    let test = ["module", "test", "owner-labels", "--module", module];
    let failed = call(folder, &test).exits(1).stdout;
    assert!(failed.contains("-  message: has no owner\n+  message: has no label team\n"), "{failed}");
    let junit = call(folder, &[&test[..], &["-o", "junit"]].concat()).exits(1).stdout;
    let junit = roxmltree::Document::parse(&junit).unwrap();
    assert_eq!(junit.root_element().attribute("failures"), Some("1"));
    call(folder, &[&test[..], &["--update"]].concat()).exits(0);
    assert_eq!(fs::read_to_string(&expected).unwrap(), text);

    let inspected = call(folder, &["module", "inspect", module, "-o", "json"]).exits(0).json();
    assert_eq!(inspected["checks"][0]["id"], "owner-labels");
    assert_eq!(inspected["contract"], "0.2.0");
    let imports: Vec<&str> =
        inspected["imports"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        imports.iter().all(|name| ["devops:policy/log@0.2.0", "devops:policy/types@0.2.0"].contains(name)),
        "{imports:?}"
    );
    assert!(call(folder, &["explain", "owner-labels", "--module", module]).exits(0).stdout.contains("HOW TO FIX IT"));

    let manifests = documents(&[good_pod("bare"), labelled(good_pod("owned"), json!({ "team": "shop" }))]);
    fs::write(folder.join("pods.yaml"), manifests).unwrap();
    let analyze = ["analyze", "-f", "pods.yaml", "-o", "json", "--module", module];
    let report = call(folder, &analyze).exits(0).json();
    let found: Vec<&Value> = report["violations"].as_array().unwrap().iter().collect();
    assert_eq!((found.len(), &found[0]["check"], &found[0]["name"]), (1, &json!("owner-labels"), &json!("bare")));

    // A policy enables it with settings, a severity and a weight, in addition to a bundle.
    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy", "metadata": { "name": "owners" },
        "spec": { "bundle": "baseline", "checks": [
            { "check": "owner-labels", "settings": { "labels": ["owner"] }, "severity": "critical", "weight": 10 },
        ] },
    });
    fs::write(folder.join("policy.yaml"), policy.to_string()).unwrap();
    let report = call(folder, &[&analyze[..], &["--policy", "policy.yaml"]].concat()).exits(0).json();
    let found = report["violations"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{report:#}");
    assert!(found.iter().all(|found| found["severity"] == "critical" && found["weight"] == 10), "{report:#}");
    rejects_other_settings(folder, module);
    // Without the module, its rule is not evaluated; the others are.
    let without = ["analyze", "-f", "pods.yaml", "-o", "json", "--policy", "policy.yaml"];
    let report = call(folder, &without).exits(2).json();
    assert!(report["errors"][0]["message"].as_str().unwrap().contains("there is no such check"), "{report:#}");
    assert!(report.to_string().contains("latest-tag"), "{report:#}");
}

/// The check of each template rejects settings that are misspelt or of another type.
fn rejects_other_settings(folder: &Path, module: &str) {
    for settings in [json!({ "label": ["team"] }), json!({ "labels": ["team"], "other": 1 }), json!({ "labels": [1] })]
    {
        let spec = json!({ "checks": [{ "check": "owner-labels", "settings": settings }] });
        fs::write(folder.join("other.yaml"), policy("other", &spec)).unwrap();
        let analyze = ["analyze", "-f", "pods.yaml", "--module", module, "--policy", "other.yaml"];
        let error = call(folder, &analyze).exits(2).stderr;
        assert!(error.contains("check owner-labels rejects the settings"), "{settings}: {error}");
    }
}

#[test]
fn a_check_in_rust_needs_only_its_project() {
    let (folder, project) = project("rust");
    // The versions of the workspace, which are downloaded.
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let lines = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    let check = lines.split_once("impl Check for").unwrap().1;
    assert!(check.lines().count() <= 25, "the check has {} lines", check.lines().count());
    exercise(folder.path(), &project);
}

#[test]
fn a_check_in_javascript_needs_only_its_project() {
    let (folder, project) = project("javascript");
    if npm_install(&project) {
        // As after an installation that was interrupted.
        fs::remove_dir_all(project.join("node_modules")).unwrap();
        fs::create_dir(project.join("node_modules")).unwrap();
        exercise(folder.path(), &project);
    }
}

#[test]
fn checks_in_javascript_read_complete_objects_only_if_they_import_them() {
    let (folder, project) = project("javascript");
    if !npm_install(&project) {
        return;
    }
    let file = project.join("check.js");
    let check = fs::read_to_string(&file).unwrap();
    let (before, after) = check.split_once("current.findings(pod)").unwrap();
    let read = "[String(object.get(subject, '/spec/schedulerName'))]";
    let import = "import object from \"devops:policy/object@0.2.0\";\n";
    fs::write(&file, [import, before, read, after].concat()).unwrap();
    reads_complete_objects(folder.path(), "null");
}

/// Builds the check `owner-labels`, whose message is the name of the scheduler, or `missing`, and evaluates pods with it.
fn reads_complete_objects(folder: &Path, missing: &str) {
    call(folder, &["module", "build", "owner-labels"]).exits(0);
    let module = "owner-labels/owner-labels.wasm";
    let inspected = call(folder, &["module", "inspect", module, "-o", "json"]).exits(0).json();
    let imports = inspected["imports"].as_array().unwrap();
    assert!(imports.contains(&json!("devops:policy/object@0.2.0")), "{inspected:#}");
    let mut scheduled = good_pod("scheduled");
    scheduled["spec"]["schedulerName"] = json!("batch");
    fs::write(folder.join("scheduled.yaml"), documents(&[good_pod("bare"), scheduled])).unwrap();
    let report = call(folder, &["analyze", "-f", "scheduled.yaml", "-o", "json", "--module", module]).exits(0).json();
    let found = report["violations"].as_array().unwrap().iter().map(|found| found["message"].as_str().unwrap());
    assert_eq!(found.collect::<Vec<_>>(), [missing, "\"batch\""], "{report:#}");
}

/// Installs the packages of a project. Returns whether they can be had.
fn pip_install(project: &Path) -> bool {
    let succeeds = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(project).output();
        output.is_ok_and(|output| output.status.success())
    };
    let is_installed = succeeds(Path::new("python3"), &["-m", "venv", ".venv"])
        && succeeds(&project.join(".venv/bin/python"), &["-m", "pip", "install", "-r", "requirements.txt"]);
    if !is_installed {
        eprintln!("skipped: python3 or its venv module is missing, or pip cannot reach its registry");
    }
    is_installed
}

/// Building and compiling the interpreter takes many seconds, so this happens only once.
#[test]
fn a_check_in_python_needs_only_its_project() {
    let (folder, project) = project("python");
    if !pip_install(&project) {
        return;
    }
    let (folder, file) = (folder.path(), project.join("check.py"));
    let check = fs::read_to_string(&file).unwrap();
    let rule = check.split_once("class Rule(").unwrap().1.split_once("\nclass ").unwrap().0;
    assert!(rule.lines().count() <= 25, "the check has {} lines", rule.lines().count());

    let (before, after) = check.split_once("        names =").unwrap();
    let broken = "        if subject.name == 'broken':\n            raise KeyError('team')\n";
    let wrong = "        if subject.name == 'wrong':\n            return [1]\n";
    fs::write(&file, [before, broken, wrong, "        names =", after].concat()).unwrap();
    let tested = call(folder, &["module", "test", "owner-labels"]).exits(0).stdout;
    assert_eq!(tested, "labels: ok\nsettings: ok\n2 cases, 0 failed\n");

    // An exception and a value of a wrong type are errors of the pod that causes them, with their text, and never a pass.
    let pods = ["bare", "broken", "wrong"].map(good_pod).to_vec();
    let owned = labelled(good_pod("owned"), json!({ "team": "shop" }));
    fs::write(folder.join("pods.yaml"), documents(&[pods, vec![owned]].concat())).unwrap();
    let module = "owner-labels/owner-labels.wasm";
    rejects_other_settings(folder, module);
    let report = call(folder, &["analyze", "-f", "pods.yaml", "-o", "json", "--module", module]).exits(2).json();
    let found: Vec<&Value> = report["violations"].as_array().unwrap().iter().collect();
    assert_eq!((found.len(), &found[0]["check"], &found[0]["name"]), (1, &json!("owner-labels"), &json!("bare")));
    let errors: Vec<&str> =
        report["errors"].as_array().unwrap().iter().map(|error| error["message"].as_str().unwrap()).collect();
    let [broken, wrong] = errors.as_slice() else { panic!("{report:#}") };
    assert!(
        broken.contains("Pod default/broken") && broken.contains("KeyError in line ") && broken.ends_with(": 'team'"),
        "{broken}"
    );
    assert!(
        wrong.contains("Pod default/wrong") && wrong.contains("Finding.message is 1, which has the wrong type"),
        "{wrong}"
    );

    let call_of_findings = "current.findings(pod)";
    assert!(check.contains(call_of_findings), "{check}");
    let read = "[str(object.get(subject, '/spec/schedulerName'))]";
    let check = check.replacen(call_of_findings, read, 1).replacen("import log\n", "import log, object\n", 1);
    fs::write(&file, check).unwrap();
    reads_complete_objects(folder, "None");
}

#[test]
fn names_and_references_are_validated() {
    let folder = Folder::new();
    for name in ["Upper", "a--b", "-a", "9a", "a_b", ""] {
        let failed = call(folder.path(), &["module", "new", "--", name]).exits(2).stderr;
        assert!(failed.contains("is not a valid name"), "{name}: {failed}");
    }
    fs::create_dir(folder.path().join("taken")).unwrap();
    assert!(call(folder.path(), &["module", "new", "taken"]).exits(2).stderr.contains("already exists"));
    assert!(call(folder.path(), &["module", "build", "taken"]).exits(2).stderr.contains("is not a project"));
    for (content, message) in [
        (&b"text"[..], "the file is not WebAssembly"),
        (b"\0asm\x01\0\0\0", "a core WebAssembly module, and not a component"),
        (b"\0asm\x0d\0\x01\0", "neither devops:policy/check nor devops:policy/bundle"),
        (b"\0asm\x0d\0\x01\0\xff\xff", "not a valid WebAssembly component"),
    ] {
        fs::write(folder.path().join("a.wasm"), content).unwrap();
        for command in [&["module", "inspect", "a.wasm"][..], &["analyze", "-f", ".", "--module", "file:a.wasm"]] {
            let failed = call(folder.path(), command).exits(2).stderr;
            assert!(failed.contains("a.wasm") && failed.contains(message), "{failed}");
        }
    }
    assert!(call(folder.path(), &["module", "inspect", "missing.wasm"]).exits(2).stderr.contains("missing.wasm"));
    assert!(call(folder.path(), &["explain", "--module", "ftp://a"]).exits(2).stderr.contains("unknown scheme"));
    let credentials =
        ["oci://user:secret@host.example/a:1", "oci://user:se/secret@host.example/a", "user:secret@host.example/a:1"];
    for reference in credentials {
        for command in [
            &["explain", "--module", reference][..],
            &["module", "push", "a.wasm", reference],
            &["module", "inspect", reference],
        ] {
            let failed = call(folder.path(), command).exits(2).stderr;
            assert!(!failed.contains("secret") && failed.contains("docker login"), "{command:?}: {failed}");
        }
    }
    let failed = call(folder.path(), &["explain", "--module", "host.example/checks/a:1"]).exits(2).stderr;
    assert!(
        failed.contains("there is no such file; a module of a registry is oci://host.example/checks/a:1"),
        "{failed}"
    );
    let failed = call(folder.path(), &["explain", "--module-key", "key.pub"]).exits(2).stderr;
    assert!(failed.contains("--module-key has no effect without --module"), "{failed}");
}

#[test]
fn a_module_cannot_replace_a_check_of_the_program() {
    let components =
        kube_devops_build_components::build(&[root().join("policies/built-in")], &root().join("target/components"));
    let folder = Folder::new();
    folder.write("own.wasm", components.unwrap().remove(0).bytes);
    let failed = call(folder.path(), &["explain", "--module", "own.wasm"]).exits(2).stderr;
    assert!(failed.contains("there is already a check high-restarts"), "{failed}");
}

/// Builds an example to a file and tests it, without files in its folder.
fn test_example(folder: &Path, source: &Path) -> PathBuf {
    let name = source.file_name().unwrap().to_str().unwrap();
    let module = folder.join(format!("{name}.wasm"));
    let source = source.to_str().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
    let mut build = kube_devops();
    build.args(["module", "build", source, "--output"]).arg(&module).env("CARGO_TARGET_DIR", target);
    build.env("HOME", std::env::var_os("HOME").unwrap_or_default());
    run(&mut build).exits(0);
    if Path::new(source).join("cases").exists() {
        let tested = call(folder, &["module", "test", source, "--module", module.to_str().unwrap()]);
        assert_eq!(tested.code, Some(0), "{name}: {}{}", tested.stdout, tested.stderr);
    }
    module
}

#[test]
fn the_examples_pass_their_cases_and_combine() {
    let folder = Folder::new();
    let examples = root().join("examples/modules");
    let modules = ["pod-security", "plain-secrets", "memory-limit", "hardened"];
    let modules = modules.map(|name| test_example(folder.path(), &examples.join(name)));
    let [pod_security, _, _, hardened] = modules.each_ref().map(|path| path.to_str().unwrap());
    let controls = examples.join("pod-security/cases/controls.yaml");
    let combined = ["analyze", "-f", controls.to_str().unwrap(), "-o", "json", "--bundle", "hardened"];
    let report = call(folder.path(), &[&combined[..], &["--module", pod_security, "--module", hardened]].concat());
    let report = report.exits(0).json();
    let privileged = report["violations"].as_array().unwrap().iter().find(|found| found["check"] == "privileged");
    assert_eq!(privileged.unwrap()["severity"], "critical", "the bundle sets the severity");
    // Without the module of the checks, nothing passes.
    let report = call(folder.path(), &[&combined[..], &["--module", hardened]].concat()).exits(2).json();
    assert_eq!(report["errors"].as_array().unwrap().len(), 5, "{report:#}");
}

#[test]
fn the_example_in_javascript_passes_its_cases() {
    let folder = Folder::new();
    let project = copy_example(folder.path()).unwrap();
    if !npm_install(&project) {
        return;
    }
    test_example(folder.path(), &project);
}
