//! `module push`, `pull`, `list`, `prune` and `sign`, and modules of registries in `analyze`, with real registries.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use end_to_end::guests::{guest, with_section};
use end_to_end::objects::{documents, good_pod};
use end_to_end::{Folder, Ran, kube_devops, run};
use kube_devops_oci::Digest;
use rcgen::KeyPair;
use serde_json::{Value, json};
use test_cluster::registry::{Authentication, Registry, RegistryOptions};

/// Files for the commands, and their store.
struct Setting {
    folder: Folder,
}

impl Setting {
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("reader.wasm", guest("reader", Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap());
        folder.write("pods.yaml", documents(&[good_pod("web")]));
        Self { folder }
    }

    fn call(&self, arguments: &[&str]) -> Ran {
        let cache = self.folder.path().join("cache");
        run(kube_devops().current_dir(self.folder.path()).env("KUBE_DEVOPS_CACHE_DIR", cache).args(arguments))
    }

    fn call_with(&self, arguments: &[&str], options: &[&str]) -> Ran {
        self.call(&[arguments, options].concat())
    }

    /// Writes a key pair for signatures.
    fn key(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        self.folder.write(format!("{name}.pem"), key.serialize_pem());
        self.folder.write(format!("{name}.pub"), key.public_key_pem());
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A repository of a registry, as other tools use it.
struct Repository<'a> {
    registry: &'a Registry,
    name: &'a str,
}

impl Repository<'_> {
    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let request = Request::get(format!("/v2/{}/{path}", self.name)).header("accept", MANIFEST).body(Vec::new())?;
        let response = self.registry.send(request).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response.into_body())
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<()> {
        let start = Request::post(format!("/v2/{}/blobs/uploads/", self.name)).body(Vec::new())?;
        let started = self.registry.send(start).await?;
        let location = started.headers().get("location").context("no location")?.to_str()?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let upload = Request::put(format!("{location}{separator}digest={}", Digest::of(bytes))).body(bytes.to_vec())?;
        let response = self.registry.send(upload).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        Ok(())
    }

    /// Stores a manifest with a tag, or with its digest, and returns its descriptor.
    async fn put_manifest(&self, tag: Option<&str>, manifest: &Value) -> Result<Value> {
        let (bytes, kind) = (manifest.to_string().into_bytes(), manifest["mediaType"].as_str().unwrap());
        let digest = Digest::of(&bytes);
        let path = format!("/v2/{}/manifests/{}", self.name, tag.unwrap_or(digest.as_str()));
        let request = Request::put(path).header("content-type", kind).body(bytes.clone())?;
        let response = self.registry.send(request).await?;
        ensure!(response.status().is_success(), "{}", String::from_utf8_lossy(response.body()));
        let artifact_type = &manifest["config"]["mediaType"];
        Ok(json!({ "mediaType": kind, "digest": digest, "size": bytes.len(), "artifactType": artifact_type }))
    }
}

/// The tags of the modules in the store, and whether they were pulled by digest.
fn stored(setting: &Setting) -> Vec<(String, bool)> {
    let listed = setting.call(&["module", "list", "-o", "json"]).exits(0).json();
    let tags = |record: &Value| {
        let tags = record["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
        tags.collect::<Vec<_>>().join(" ")
    };
    let mut stored: Vec<_> =
        listed.as_array().unwrap().iter().map(|record| (tags(record), record["byDigest"].as_bool().unwrap())).collect();
    stored.sort();
    stored
}

/// The number of violations of the check of the module.
fn violations(report: &serde_json::Value) -> usize {
    report["violations"].as_array().unwrap().iter().filter(|violation| violation["check"] == "reader").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_pushed_pulled_and_used_with_tls_and_tokens() -> Result<()> {
    let (user, password) = ("jane".to_owned(), "s3cret".to_owned());
    let authentication = Authentication::Token { user, password, anonymous_pull: false };
    let options = RegistryOptions { tls: true, authentication, ..RegistryOptions::default() };
    let registry = Registry::start(options).await?;
    let (host, setting) = (registry.host(), Setting::new());
    setting.folder.write("ca.crt", registry.ca_pem().unwrap());
    let login = |user: &str| format!(r#"{{"auths": {{"{host}": {{"username": "{user}", "password": "s3cret"}}}}}}"#);
    setting.folder.write("login.json", login("jane"));
    setting.folder.write("other.json", login("joe"));
    let reference = format!("oci://{host}/checks/reader:1.0");
    let push = ["module", "push", "reader.wasm", &reference];
    let trusted = ["--registry-ca-file", "ca.crt"];
    let options = ["--registry-ca-file", "ca.crt", "--registry-config", "login.json"];

    // What is missing is named.
    let failed = setting.call(&push).exits(2).stderr;
    assert!(failed.contains("its certificate is not trusted") && failed.contains("--registry-ca-file"), "{failed}");
    let failed = setting.call_with(&push, &trusted).exits(2).stderr;
    assert!(failed.contains("denied access to checks/reader") && failed.contains("without credentials"), "{failed}");
    let failed =
        setting.call_with(&push, &["--registry-ca-file", "ca.crt", "--registry-config", "other.json"]).exits(2);
    assert!(failed.stderr.contains("other.json") && failed.stderr.contains("user joe"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("s3cret"), "{}", failed.stderr);
    setting.folder.write("text.wasm", "not a module");
    let failed = setting.call_with(&["module", "push", "text.wasm", &reference], &options).exits(2).stderr;
    assert!(failed.contains("is not WebAssembly"), "{failed}");

    let pushed = setting.call_with(&push, &options).exits(0).stdout;
    let pinned = pushed.lines().last().unwrap().to_owned();
    assert!(pushed.starts_with(&format!("{reference} pushed\noci://{host}/checks/reader@sha256:")), "{pushed}");
    assert_eq!(setting.call_with(&push, &options).exits(0).stdout, pushed, "a push of the same module changes nothing");

    let pulled = setting.call_with(&["module", "pull", &reference, "-o", "pulled.wasm"], &options).exits(0).stdout;
    assert!(pulled.contains("Signature   not verified"), "{pulled}");
    let component = std::fs::read(setting.folder.path().join("pulled.wasm"))?;
    assert_eq!(component, std::fs::read(setting.folder.path().join("reader.wasm"))?);
    let inspected = setting.call_with(&["module", "inspect", &reference], &options).exits(0).stdout;
    assert!(inspected.contains("Check       reader:"), "{inspected}");

    let analyze = ["analyze", "-f", "pods.yaml", "-o", "json", "--module"];
    let report = setting.call_with(&[&analyze[..], &[reference.as_str()]].concat(), &options).exits(0).json();
    assert_eq!(violations(&report), 1, "{report:#}");
    let missing = format!("oci://{host}/checks/reader:2.0");
    let failed = setting.call_with(&[&analyze[..], &[missing.as_str()]].concat(), &options).exits(2).stderr;
    assert!(failed.contains("does not have the manifest 2.0 in checks/reader"), "{failed}");

    // A digest needs no registry once it is in the store; a tag could have changed.
    drop(registry);
    let report = setting.call_with(&[&analyze[..], &[pinned.as_str()]].concat(), &options).exits(0).json();
    assert_eq!(violations(&report), 1);
    let failed = setting.call_with(&[&analyze[..], &[reference.as_str()]].concat(), &options).exits(2).stderr;
    assert!(failed.contains(&format!("failed to reach {host}")), "{failed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_required_with_a_key() -> Result<()> {
    for referrers in [false, true] {
        let registry = Registry::start(RegistryOptions { referrers, ..RegistryOptions::default() }).await?;
        let (reference, setting) = (format!("oci://{}/checks/reader:1.0", registry.host()), Setting::new());
        setting.key("one");
        setting.key("two");
        // This machine is reached without TLS without an option.
        setting.call(&["module", "push", "reader.wasm", &reference]).exits(0);
        let analyze = ["analyze", "-f", "pods.yaml", "-o", "json", "--module", &reference, "--module-key"];
        let failed = setting.call_with(&analyze, &["one.pub"]).exits(2).stderr;
        assert!(failed.contains("the module is not signed"), "{failed}");

        let signed = setting.call(&["module", "sign", &reference, "--key", "two.pem"]).exits(0).stdout;
        assert!(signed.contains("@sha256:") && signed.ends_with(" signed\n"), "{signed}");
        let failed = setting.call_with(&analyze, &["one.pub"]).exits(2).stderr;
        assert!(failed.contains("a signature is not by one of the keys"), "{failed}");
        setting.call(&["module", "sign", &reference, "--key", "one.pem"]).exits(0);
        for key in ["one.pub", "two.pub"] {
            let report = setting.call_with(&analyze, &[key]).exits(0).json();
            assert_eq!(violations(&report), 1, "{key}");
        }
        let failed = setting.call_with(&analyze, &["one.pem"]).exits(2).stderr;
        assert!(failed.contains("it is a private key"), "{failed}");
        let unsigned = ["analyze", "-f", "pods.yaml", "--module", "reader.wasm", "--module-key", "one.pub"];
        assert!(setting.call(&unsigned).exits(2).stderr.contains("only modules of registries have signatures"));

        // Pushed and signed at once.
        let second = format!("oci://{}/checks/second:1.0", registry.host());
        setting.call(&["module", "push", "reader.wasm", &second, "--sign-key", "one.pem"]).exits(0);
        setting.call(&["module", "pull", &second, "--module-key", "one.pub"]).exits(0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_found_among_many_other_referrers() -> Result<()> {
    for referrers in [false, true] {
        let registry = Registry::start(RegistryOptions { referrers, ..RegistryOptions::default() }).await?;
        let setting = Setting::new();
        setting.key("one");
        let reference = |name: &str| format!("oci://{}/checks/{name}:1.0", registry.host());
        let (signed, reader) = (reference("signed"), reference("reader"));
        setting.call(&["module", "push", "reader.wasm", &signed, "--sign-key", "one.pem"]).exits(0);
        let pushed = setting.call(&["module", "push", "reader.wasm", &reader]).exits(0).stdout;
        let digest = pushed.trim_end().rsplit_once('@').unwrap().1;
        let tag = digest.replace(':', "-");
        let of = |name| Repository { registry: &registry, name };
        let (source, repository) = (of("checks/signed"), of("checks/reader"));
        let size = repository.get(&format!("manifests/{digest}")).await?.len();
        let subject = json!({ "mediaType": MANIFEST, "digest": digest, "size": size });
        let mut listed = Vec::new();
        // Without the referrers API, clients list them in an index with a tag.
        let list = async |listed: &[Value]| -> Result<()> {
            if !referrers {
                let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
                repository.put_manifest(Some(&tag), &index).await?;
            }
            Ok(())
        };

        repository.put_blob(b"{}").await?;
        let scan = json!({ "mediaType": "application/vnd.scan+json", "digest": Digest::of(b"{}"), "size": 2 });
        for number in 0..300 {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": scan, "layers": [scan], "subject": subject,
                "annotations": { "number": number.to_string() },
            });
            listed.push(repository.put_manifest(None, &manifest).await?);
        }
        list(&listed).await?;
        let pull = ["module", "pull", &reader, "--module-key", "one.pub"];
        setting.call(&pull).exits(2).complains(&["only 32 of 300 referrers", "sign again with `module sign`"]);

        // A signature as cosign stores it among the referrers.
        let signature = source.get(&format!("manifests/{tag}.sig")).await?;
        let mut signature: Value = serde_json::from_slice(&signature)?;
        for blob in [&signature["config"], &signature["layers"][0]] {
            let blob = source.get(&format!("blobs/{}", blob["digest"].as_str().unwrap())).await?;
            repository.put_blob(&blob).await?;
        }
        signature["config"]["mediaType"] = json!("application/vnd.dev.cosign.artifact.sig.v1+json");
        signature["subject"] = subject;
        listed.push(repository.put_manifest(None, &signature).await?);
        list(&listed).await?;
        setting.call(&pull).exits(0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_sign_at_the_same_time_keep_the_signatures_of_each_other() -> Result<()> {
    let registry = Registry::start(RegistryOptions::default()).await?;
    let (reference, setting) = (format!("oci://{}/checks/reader:1.0", registry.host()), Setting::new());
    setting.call(&["module", "push", "reader.wasm", &reference]).exits(0);
    let keys = ["one", "two", "three"];
    keys.iter().for_each(|key| setting.key(key));
    std::thread::scope(|scope| {
        for key in keys {
            let (setting, reference) = (&setting, &reference);
            scope.spawn(move || {
                setting.call(&["module", "sign", reference, "--key", &format!("{key}.pem")]).exits(0);
            });
        }
    });
    // A second signature by the same key changes nothing.
    setting.call(&["module", "sign", &reference, "--key", "one.pem"]).exits(0);
    for key in keys {
        setting.call(&["module", "pull", &reference, "--module-key", &format!("{key}.pub")]).exits(0);
    }
    let pushed = setting.call(&["module", "push", "reader.wasm", &reference]).exits(0).stdout;
    let tag = pushed.trim_end().rsplit_once('@').unwrap().1.replace(':', "-");
    let repository = Repository { registry: &registry, name: "checks/reader" };
    let manifest: Value = serde_json::from_slice(&repository.get(&format!("manifests/{tag}.sig")).await?)?;
    assert_eq!(manifest["layers"].as_array().unwrap().len(), keys.len(), "{manifest:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_listed_and_pruned() -> Result<()> {
    let registry = Registry::start(RegistryOptions::default()).await?;
    let (reference, setting) = (format!("oci://{}/checks/reader:1.0", registry.host()), Setting::new());
    let empty = setting.call(&["module", "list"]).exits(0).stdout;
    assert_eq!(empty, "The store contains no modules.\n");
    for name in *b"ab" {
        let component = std::fs::read(setting.folder.path().join("reader.wasm"))?;
        setting.folder.write("next.wasm", with_section(&component, name));
        setting.call(&["module", "push", "next.wasm", &reference]).exits(0);
        setting.call(&["module", "inspect", &reference]).exits(0);
    }
    let listed = setting.call(&["module", "list", "-o", "json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!((&listed[0]["tags"], &listed[1]["tags"]), (&json!([]), &json!(["1.0"])), "{listed:#}");
    let compiled = |setting: &Setting| -> usize {
        let files = walkdir::WalkDir::new(setting.folder.path().join("cache/compiled")).into_iter();
        files
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "cwasm"))
            })
            .count()
    };
    assert_eq!(compiled(&setting), 2);
    let pruned = setting.call(&["module", "prune"]).exits(0).stdout;
    assert!(pruned.starts_with("1 module removed, "), "{pruned}");
    assert_eq!((setting.call(&["module", "list"]).exits(0).stdout.lines().count(), compiled(&setting)), (2, 1));
    let pruned = setting.call(&["module", "prune", "--all"]).exits(0).stdout;
    assert!(pruned.starts_with("1 module removed, "), "{pruned}");
    assert_eq!(compiled(&setting), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_a_tag_or_a_digest_refers_to_is_not_pruned() -> Result<()> {
    let registry = Registry::start(RegistryOptions::default()).await?;
    let (repository, setting) = (format!("oci://{}/checks/reader", registry.host()), Setting::new());
    let component = std::fs::read(setting.folder.path().join("reader.wasm"))?;
    let reference = format!("{repository}:1");
    let push = |content: u8| {
        setting.folder.write("next.wasm", with_section(&component, content));
        let pushed = setting.call(&["module", "push", "next.wasm", &reference]).exits(0).stdout;
        pushed.lines().last().unwrap().to_owned()
    };
    let pull = |reference: &str| setting.call(&["module", "pull", reference]).exits(0);
    // The first version is pulled by its digest as well; each next one, within a second, by the tag that moves to it.
    let first = push(b'a');
    pull(&reference);
    pull(&first);
    for content in *b"bcd" {
        push(content);
        pull(&reference);
    }
    assert_eq!(stored(&setting).len(), 4);
    setting.call(&["module", "prune"]).exits(0);
    assert_eq!(stored(&setting), [(String::new(), true), ("1".to_owned(), false)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_stores_nothing_fails() -> Result<()> {
    let registry = Registry::start(RegistryOptions::default()).await?;
    let (reference, setting) = (format!("oci://{}/checks/reader:1.0", registry.host()), Setting::new());
    setting.call(&["module", "push", "reader.wasm", &reference]).exits(0);
    setting.call(&["module", "list"]).exits(0);
    setting.folder.write("cache/components", "not a folder");
    setting.call(&["module", "pull", &reference]).exits(2).complains(&["error: the module was not stored"]);
    let ran = setting.call(&["module", "pull", &reference, "-o", "pulled.wasm"]).exits(0);
    ran.complains(&["warning: the module was not stored"]);
    let component = std::fs::read(setting.folder.path().join("pulled.wasm"))?;
    assert_eq!(component, std::fs::read(setting.folder.path().join("reader.wasm"))?);
    let analyze = ["analyze", "-f", "pods.yaml", "-o", "json", "--module", &reference];
    let ran = setting.call(&analyze).exits(0).complains(&["was not stored"]);
    assert_eq!(violations(&ran.json()), 1);
    setting.call(&["module", "pull", &reference, "-o", "/dev/full"]).exits(2);
    Ok(())
}

#[test]
fn a_cache_in_which_others_can_write_is_a_warning() {
    let setting = Setting::new();
    let home = setting.folder.path();
    let cache = home.join(".cache/kube-devops");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    let mut command = kube_devops();
    command.current_dir(home).env("HOME", home).env_remove("XDG_CACHE_HOME").env_remove("KUBE_DEVOPS_CACHE_DIR");
    let ran = run(command.args(["explain", "reader", "--module", "file:reader.wasm"])).exits(0);
    assert_eq!(ran.stderr.matches("warning: modules are not cached: ").count(), 1, "{}", ran.stderr);
}
