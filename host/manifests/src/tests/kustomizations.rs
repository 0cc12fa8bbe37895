//! Patches of kustomizations, which are skipped, and complete objects, which a kustomization must not hide.

use super::*;

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
