//! The evaluated files of a folder, the names of results from standard input, and the destinations of reports.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

use end_to_end::objects::bad_pod;
use end_to_end::{Folder, Ran, kube_devops, root, run, run_with_input};
use serde_json::json;

fn analyze(folder: &Folder, arguments: &[&str]) -> Ran {
    run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(folder.path()).args(arguments))
}

/// Returns the names of the objects with violations.
fn evaluated(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    let names = report["violations"].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.dedup();
    names
}

fn pods(names: &[&str]) -> Folder {
    Folder::with(names.iter().map(|name| {
        let stem = name.rsplit('/').next().unwrap().trim_end_matches(".yaml");
        (name.to_string(), bad_pod(stem).to_string())
    }))
}

#[test]
fn excluded_files_are_skipped_and_counted() {
    let folder = pods(&["a.yaml", "generated/b.yaml", "generated/deep/c.yaml", "d.yaml"]);
    let ran = analyze(&folder, &["--exclude", "generated/", "--exclude=/d.yaml"]).exits(0);
    assert_eq!(evaluated(&ran), ["a"]);
    assert_eq!(ran.json()["excludedFiles"], 3);
    let ran = analyze(&folder, &["--exclude", "generated/*", "--exclude", "!generated/b.yaml"]).exits(0);
    assert_eq!(evaluated(&ran), ["a", "b", "d"]);
    let text = run(kube_devops().args(["analyze", "--exclude", "?.yaml", "-f"]).arg(folder.path())).exits(0);
    assert!(text.stdout.contains("4 files by --exclude or .kube-devopsignore"), "{}", text.stdout);
}

#[test]
fn an_ignore_file_applies_to_its_folder() {
    let folder = pods(&["a.yaml", "b.yaml", "below/a.yaml", "below/b.yaml"]);
    fs::write(folder.path().join("below/.kube-devopsignore"), "# generated\na.yaml\n").unwrap();
    let ran = analyze(&folder, &[]).exits(0);
    assert_eq!(ran.json()["subjects"], 3);
    fs::write(folder.path().join(".kube-devopsignore"), "b.yaml\n").unwrap();
    let ran = analyze(&folder, &[]).exits(0);
    assert_eq!((evaluated(&ran), ran.json()["excludedFiles"].as_u64()), (vec!["a".to_owned()], Some(3)));
    // A file given by name is read although it is ignored.
    let named = run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(folder.path().join("b.yaml"))).exits(0);
    assert_eq!(evaluated(&named), ["b"]);
}

#[test]
fn hidden_files_are_skipped_and_counted() {
    let folder = pods(&["a.yaml", ".b.yaml", "below/.c.yml"]);
    let ran = analyze(&folder, &[]).exits(0);
    assert_eq!((evaluated(&ran), ran.json()["hiddenFiles"].as_u64()), (vec!["a".to_owned()], Some(2)));
    let text = run(kube_devops().args(["analyze", "-f"]).arg(folder.path())).exits(0);
    assert!(text.stdout.contains("2 hidden files"), "{}", text.stdout);
}

#[test]
fn invalid_patterns_are_rejected() {
    let folder = pods(&["a.yaml"]);
    analyze(&folder, &["--exclude", "[z-a]"]).exits(2).complains(&["invalid pattern", ".gitignore"]);
    fs::write(folder.path().join(".kube-devopsignore"), "[z-a]\n").unwrap();
    let ran = analyze(&folder, &[]).exits(2);
    assert!(ran.errors()[0].contains("invalid pattern"), "{:?}", ran.errors());
}

#[test]
fn results_of_standard_input_name_a_file() {
    let helm = format!(
        "---\n# Source: shop/templates/a.yaml\n{}\n---\n# Source: shop/templates/b.yaml\nkind: Pod\nmetadata: {{name: b}}\nspec:\n  containers:\n  - image: b\n---\n{}",
        serde_norway::to_string(&bad_pod("a")).unwrap(),
        bad_pod("c")
    );
    let mut command = kube_devops();
    let ran =
        run_with_input(command.args(["analyze", "-o", "json", "-f", "-", "--stdin-name", "all.yaml"]), helm.as_str());
    let report = ran.exits(0).json();
    let places: Vec<_> =
        report["violations"].as_array().unwrap().iter().filter(|found| found["check"] == "latest-tag").collect();
    let files: Vec<_> = places.iter().map(|found| found["source"]["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["shop/templates/a.yaml", "shop/templates/b.yaml", "all.yaml"]);
    assert_eq!(places[1]["source"]["line"], 5);
    let mut command = kube_devops();
    let sarif =
        run_with_input(command.args(["analyze", "-o", "sarif", "-f", "-"]), bad_pod("a").to_string()).exits(0).json();
    for result in sarif["runs"][0]["results"].as_array().unwrap() {
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "stdin");
    }
}

#[test]
fn one_run_writes_several_reports() {
    let folder = pods(&["a.yaml"]);
    let out = Folder::with([] as [(&str, &str); 0]);
    let file = |name: &str| out.path().join(name);
    let to = |format: &str, name: &str| format!("{format}={}", file(name).display());
    let mut command = kube_devops();
    command
        .args(["analyze", "-o", "text", "-o", &to("sarif", "a.sarif"), "-o", &to("junit", "a.xml"), "-f"])
        .arg(folder.path());
    let ran = run(&mut command).exits(0);
    assert!(ran.stdout.contains("DevOps Governance Summary"), "{}", ran.stdout);
    let sarif: serde_json::Value = serde_json::from_slice(&fs::read(file("a.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(fs::read_to_string(file("a.xml")).unwrap().contains("<testsuites"));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2);

    analyze(&folder, &["-o", "text"]).exits(2).complains(&["multiple output formats"]);
    analyze(&folder, &["-o", "sarif="]).exits(2).complains(&["missing file name after ="]);
    let nowhere = format!("sarif={}", file("no/such/folder.sarif").display());
    analyze(&folder, &["-o", &nowhere]).exits(2).complains(&["failed to write the report to"]);
}

#[test]
fn a_path_without_an_option_suggests_the_option() {
    run(kube_devops().args(["analyze", "deploy.yaml"])).exits(2).complains(&["analyze -f deploy.yaml"]);
}

/// Creates a folder with this program only, to be used as `PATH`.
fn path_with(program: &std::path::Path) -> Folder {
    let folder = Folder::with([] as [(&str, &str); 0]);
    std::os::unix::fs::symlink(program, folder.path().join(program.file_name().unwrap())).unwrap();
    folder
}

/// Asserts that the report has one error, with these texts.
fn assert_error(ran: Ran, texts: &[&str]) {
    let report = ran.exits(2).json();
    let errors = report["errors"].as_array().unwrap();
    let message = errors[0]["message"].as_str().unwrap();
    assert!(errors.len() == 1 && texts.iter().all(|text| message.contains(text)), "{errors:#?}");
}

#[test]
fn a_kustomization_is_rendered_and_evaluated() {
    let case = root().join("tests/end-to-end/manifests/cases/kustomize");
    let programs = path_with(&test_cluster::kubectl().unwrap());
    let kustomize = |folder: &std::path::Path| {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "--kustomize"]).arg(folder).env("PATH", programs.path());
        run(&mut command)
    };
    let report = kustomize(&case).exits(0).json();
    assert_eq!(report["subjects"], 1);
    // The kustomization pins the image tag.
    let checks: Vec<_> =
        report["violations"].as_array().unwrap().iter().map(|found| found["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["missing-liveness", "missing-readiness"]);
    assert_eq!(report["violations"][0]["source"]["file"], case.to_str().unwrap());

    let origins = Folder::with([
        ("base/kustomization.yaml", "resources: [app.yaml]\n".to_owned()),
        ("base/app.yaml", bad_pod("a").to_string()),
        ("top/kustomization.yaml", "resources: [../base]\nbuildMetadata: [originAnnotations]\n".to_owned()),
    ]);
    let report = kustomize(&origins.path().join("top")).exits(0).json();
    assert_eq!(report["violations"][0]["source"]["file"], origins.path().join("base/app.yaml").to_str().unwrap());

    let empty = pods(&["a.yaml"]);
    assert_error(kustomize(empty.path()), &["failed to render", "kubectl kustomize", "kustomization.yaml"]);
    assert_error(kustomize(&case.join("app.yaml")), &["is not a folder"]);
    let charts =
        Folder::with([("kustomization.yaml", "helmCharts: [{name: a, repo: 'https://example.com'}]\n".to_owned())]);
    assert_error(kustomize(charts.path()), &["must specify --enable-helm", "`kustomize build --enable-helm "]);
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--kustomize"]).arg(&case).env("PATH", empty.path());
    assert_error(run(&mut command), &["neither kubectl nor kustomize was found"]);
}

#[test]
fn the_charts_and_remote_resources_of_a_kustomization_are_not_evaluated() {
    let folder = pods(&["web.yaml"]);
    let remote = "resources: [web.yaml, 'https://github.com/example/shop//deploy?ref=v1']\n";
    for (kustomization, reason) in [
        ("resources: [web.yaml]\nhelmCharts: [{name: shop}]\n", "`kustomize build --enable-helm "),
        (remote, "refers to https://github.com/example/shop//deploy?ref=v1, which was not read"),
    ] {
        folder.write("kustomization.yaml", kustomization);
        let report = analyze(&folder, &[]).exits(0).json();
        let [object] = &**report["notEvaluated"].as_array().unwrap() else { panic!("{report}") };
        assert_eq!((&object["kind"], &object["source"]["line"]), (&json!("Kustomization"), &json!(1)));
        assert!(object["reason"].as_str().unwrap().contains(reason), "{object}");
        let failed = analyze(&folder, &["--fail-on-unknown"]).exits(2);
        failed.complains(&["1 object with containers that were not evaluated"]);
        for format in ["text", "github", "junit", "sarif"] {
            let ran = run(kube_devops().args(["analyze", "-o", format, "-f"]).arg(folder.path())).exits(0);
            let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                text.contains("Kustomization contains charts") || text.contains("Kustomization refers to"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_chart_is_rendered_and_evaluated() {
    let chart = root().join("tests/end-to-end/manifests/chart");
    let programs = path_with(&test_cluster::helm().unwrap());
    let analyze = |arguments: &[&str]| {
        let mut command = kube_devops();
        command.args(["analyze", "-o", "json", "--helm-chart"]).arg(&chart).args(arguments);
        run(command.env("PATH", programs.path()))
    };
    let checks = |arguments: &[&str]| -> Vec<String> {
        let report = analyze(arguments).exits(0).json();
        let checks = report["violations"].as_array().unwrap().iter();
        checks.map(|found| found["check"].as_str().unwrap().to_owned()).collect()
    };
    let report = analyze(&["-n", "shop"]).exits(0).json();
    let latest = &report["violations"][0];
    assert_eq!((&latest["check"], &latest["namespace"]), (&json!("latest-tag"), &json!("shop")));
    assert_eq!(latest["source"]["file"], chart.join("templates/web.yaml").to_str().unwrap());
    // The first lines of the template have no directives, so line numbers of template and output are the same.
    assert_eq!(latest["source"]["line"], 14);
    assert_eq!(checks(&[]), ["latest-tag", "missing-liveness", "missing-readiness"]);
    let production = chart.join("production.yaml");
    let production = ["--values", production.to_str().unwrap()];
    assert_eq!(checks(&production), ["missing-liveness", "missing-readiness"]);
    assert_eq!(checks(&["--set", "image.tag=5", "--set", "probes=true"]), [""; 0]);
    assert_eq!(checks(&[production[0], production[1], "--set", "image.tag=latest"])[0], "latest-tag");

    let without_repository = analyze(&["--set", "image.repository="]);
    assert_error(without_repository, &["failed to render", "helm template", "image.repository is missing"]);
    assert_error(analyze(&["--values", "missing.yaml"]), &["failed to render", "missing.yaml"]);
    assert_error(run(kube_devops().args(["analyze", "-o", "json", "--helm-chart", "bitnami/web"])), &["was not found"]);
    run(kube_devops().args(["analyze", "-f", "a.yaml", "--set", "a=b"])).exits(2).complains(&["--helm-chart"]);
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--helm-chart"]).arg(&chart).env("PATH", "/nowhere");
    assert_error(run(&mut command), &["helm was not found"]);
}

#[test]
fn what_cannot_be_rendered_does_not_keep_the_rest_from_its_evaluation() {
    let folder = Folder::with([
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned()),
        ("web/templates/a.yaml", "{{ fail \"no\" }}\n".to_owned()),
        ("pod.yaml", bad_pod("a").to_string()),
    ]);
    let programs = path_with(&test_cluster::helm().unwrap());
    let analyze = |arguments: &[&str]| {
        let mut command = kube_devops();
        command.current_dir(folder.path()).args(["analyze", "-f", ".", "-o", "sarif=report.sarif", "-o", "json"]);
        run(command.args(arguments).env("PATH", programs.path()))
    };
    for arguments in [&[][..], &["--helm-chart", "web"], &["--helm-chart", "web", "--helm-chart", "./web"]] {
        let report = analyze(arguments).exits(2).json();
        assert_eq!((&report["subjects"], report["errors"].as_array().unwrap().len()), (&json!(1), 1), "{report:#}");
        fs::remove_file(folder.path().join("report.sarif")).unwrap();
    }
    analyze(&["--exclude", "web/"]).exits(0);
}

#[test]
fn the_objects_in_the_crds_folder_of_a_chart_are_evaluated() {
    let chart = Folder::with([
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned()),
        ("crds/a.yaml", bad_pod("a").to_string()),
    ]);
    let programs = path_with(&test_cluster::helm().unwrap());
    let mut command = kube_devops();
    command.args(["analyze", "-o", "json", "--helm-chart"]).arg(chart.path()).env("PATH", programs.path());
    let report = run(&mut command).exits(0).json();
    assert_eq!(report["subjects"], 1);
    assert_eq!(report["violations"][0]["source"]["file"], chart.path().join("crds/a.yaml").to_str().unwrap());
}

#[test]
fn the_ignore_file_of_an_inner_folder_takes_precedence_regardless_of_the_folder_name() {
    // `+` sorts before the dot of the ignore file, and `z` after it.
    let folder = pods(&["+first/a.yaml", "z-last/a.yaml", "other/a.yaml"]);
    fs::write(folder.path().join(".kube-devopsignore"), "a.yaml\n").unwrap();
    for inner in ["+first", "z-last"] {
        fs::write(folder.path().join(inner).join(".kube-devopsignore"), "!a.yaml\n").unwrap();
    }
    let report = analyze(&folder, &[]).exits(0).json();
    assert_eq!((report["subjects"].as_u64(), report["excludedFiles"].as_u64()), (Some(2), Some(1)));
}
