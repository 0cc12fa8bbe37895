//! Patches of kustomizations, which are skipped, and complete objects, which a kustomization must not hide.

use super::*;
use crate::kustomization;

/// Returns a deployment that the API server accepts.
fn complete(name: &str) -> String {
    deployment(name).replace("spec:\n  template", "spec:\n  selector: {matchLabels: {app: web}}\n  template")
}

fn manifests(files: &[(&str, &str)], exclude: &[&str]) -> Manifests {
    let files: Vec<_> = files.iter().map(|(name, content)| (*name, content.as_bytes())).collect();
    let folder = folder(&files);
    let exclude = exclude.iter().map(|pattern| pattern.to_string()).collect();
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { exclude, ..options() });
    assert_eq!(manifests.errors, []);
    manifests
}

#[test]
fn the_patches_of_a_kustomization_are_skipped() {
    for (key, entry) in
        [("patches", "{path: a.yaml}"), ("patchesJson6902", "{path: ./a.yaml}"), ("patchesStrategicMerge", "a.yaml")]
    {
        let kustomization = format!("resources: [web.yaml]\n{key}: [{entry}]\n");
        let web = complete("web");
        let files = [("kustomization.yaml", &*kustomization), ("a.yaml", &deployment("a")), ("web.yaml", &web)];
        let manifests = manifests(&files, &[]);
        assert_eq!((names(&manifests), manifests.extent.patches), (vec!["web"], 1), "{key}");
    }
}

#[test]
fn a_patch_that_is_also_a_resource_is_read() {
    let (web, both) = (complete("web"), "resources: [web.yaml]\npatches: [{path: web.yaml}]\n");
    for files in [
        vec![("kustomization.yaml", both), ("web.yaml", &web)],
        vec![
            ("base/web.yaml", &web),
            ("kustomization.yml", "patches: [{path: base/web.yaml}]\n"),
            ("base/Kustomization", "resources: [./web.yaml]\n"),
        ],
    ] {
        let manifests = manifests(&files, &[]);
        assert_eq!((names(&manifests), manifests.extent.patches), (vec!["web"], 0), "{files:?}");
    }
}

#[test]
fn an_excluded_kustomization_has_no_patches() {
    let (web, kustomization) = (complete("web"), "patches: [{path: web.yaml}]\n");
    let by_option = manifests(&[("kustomization.yaml", kustomization), ("web.yaml", &web)], &["kustomization.yaml"]);
    assert_eq!((names(&by_option), by_option.extent.patches), (vec!["web"], 0));
    let files = [(".kube-devopsignore", "Kustom*\n"), ("Kustomization", kustomization), ("web.yaml", &web)];
    let by_file = manifests(&files, &[]);
    assert_eq!((names(&by_file), by_file.extent.patches), (vec!["web"], 0));
    // Its resources are objects that others may apply.
    let files = [
        ("a/kustomization.yaml", "resources: [../web.yaml]\n"),
        ("kustomization.yaml", kustomization),
        ("web.yaml", &web),
    ];
    assert_eq!(names(&manifests(&files, &["a/"])), ["web"]);
}

#[test]
fn a_complete_object_outside_of_the_kustomization_is_read() {
    let kustomization = "patches: [{path: ../a/web.yaml}]\n";
    let json = r#"{"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"image": "a:1"}]}}"#;
    let task = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: web}\nspec: {steps: [{image: 'a:1'}]}\n";
    let list = format!("kind: List\nitems:\n- {}", pod("web").replace('\n', "\n  "));
    let behind = format!("{}---\n{}", deployment("web"), pod("web"));
    for content in [&complete("web"), &pod("web"), json, task, &list, &behind] {
        let manifests = manifests(&[("b/kustomization.yaml", kustomization), ("a/web.yaml", content)], &[]);
        assert_eq!(names(&manifests).last(), Some(&"web"), "{content}");
        assert_eq!(manifests.extent.patches, 0, "{content}");
    }
}

#[test]
fn a_patch_outside_of_the_kustomization_is_skipped() {
    let kustomization = "patches: [{path: ../a/web.yaml}]\n";
    for content in [
        &deployment("web"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec: {suspend: true}\n",
        "- {op: add, path: /spec/template/spec/containers/-, value: {name: b, image: 'b:1'}}\n",
        "# empty\n",
    ] {
        let manifests = manifests(&[("b/kustomization.yaml", kustomization), ("a/web.yaml", content)], &[]);
        assert_eq!((names(&manifests).len(), manifests.extent.patches), (0, 1), "{content}");
    }
}

#[test]
fn a_patch_outside_of_the_kustomization_with_a_syntax_error_is_an_error() {
    let folder = folder(&[("b/kustomization.yaml", b"patches: [{path: ../a.yaml}]\n"), ("a.yaml", b"a: [\n")]);
    assert_error(&read_paths(&[folder.path()]), (1, 1), &["a bracket is not closed"]);
}

/// Returns the reasons why kustomizations were not evaluated completely.
fn unread(files: &[(&str, &str)]) -> Vec<String> {
    manifests(files, &[]).extent.not_evaluated.into_iter().map(|object| object.reason).collect()
}

#[test]
fn objects_that_only_a_rendered_kustomization_contains_are_reported() {
    let charts = [
        "helmCharts: [{name: web, repo: 'https://charts.example.com'}]\n",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nhelmCharts: [{name: web}]\n",
        "kind: Kustomization\nhelmChartInflationGenerator: [{chartName: web}]\n",
    ];
    for (name, content) in charts.iter().flat_map(|content| kustomization::NAMES.map(|name| (name, content))) {
        let [reason] = &*unread(&[(name, content), ("web.yaml", &complete("web"))]) else { panic!("{name} {content}") };
        assert!(reason.contains("`kustomize build --enable-helm "), "{reason}");
    }
    let generator = "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: a}\nname: web\n";
    assert_eq!(unread(&[("charts.yaml", generator)]).len(), 1);
    for remote in [
        "https://example.com/web.yaml",
        "https://github.com/example/web//deploy?ref=v1",
        "github.com/example/web/deploy",
        "git@example.com:web.git",
        "git::ssh://git@example.com/web",
        "ssh://git@example.com/web",
    ] {
        for key in ["resources", "bases", "components", "generators"] {
            let kustomization = format!("{key}: [web.yaml, '{remote}']\n");
            let [reason] = &*unread(&[("a/kustomization.yaml", &kustomization)]) else { panic!("{kustomization}") };
            assert!(
                reason.starts_with(&format!("refers to {remote}, ")) && reason.contains("--kustomize "),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_kustomization_whose_files_are_read_is_not_reported() {
    for kustomization in [
        "resources: [web.yaml, ../base, github/web.yaml, web@2.yaml]\n",
        "helmCharts: []\nresources: []\n",
        "resources: [{a: b}]\n",
        // The object of Flux.
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nresources: ['https://example.com/a']\n",
    ] {
        assert_eq!(unread(&[("kustomization.yaml", kustomization)]), [""; 0], "{kustomization}");
    }
    // Values of a chart.
    assert_eq!(unread(&[("values.yaml", "helmCharts: [a]\nresources: ['https://example.com/a']\n")]), [""; 0]);
}

#[test]
fn remote_resources_of_a_kustomization_that_is_rendered_are_not_reported() {
    let folder = folder(&[("a/kustomization.yaml", b"resources: ['https://example.com/a']\n")]);
    let rendered_kustomizations = vec![folder.path().join("b/../a")];
    std::fs::create_dir(folder.path().join("b")).unwrap();
    let manifests = read(&[folder.path().to_owned()], &[], &ReadOptions { rendered_kustomizations, ..options() });
    assert_eq!(manifests.extent.not_evaluated, []);
}
