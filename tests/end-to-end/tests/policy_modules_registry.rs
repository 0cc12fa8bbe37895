//! PolicyModule: modules of a registry are resolved, verified, loaded by all replicas, replaced and kept.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use end_to_end::guests::{guest, with_section};
use end_to_end::operator::{Setting, apply, expect_module, get, policy};
use end_to_end::webhook::{Webhook, denial};
use end_to_end::{Controller, Folder, kube_devops, run};
use kube_devops_oci::Digest;
use kube_devops_oci::artifact::{Layout, Module};
use rcgen::KeyPair;
use serde_json::{Value, json};
use test_cluster::registry::{Authentication, Registry, RegistryOptions};
use test_cluster::{DEADLINE, Namespace, eventually};

/// The name that the permissions of the components contain.
const PULL_SECRET: &str = "kube-devops-registry";

/// A registry with TLS and a password, and the files to push to it.
struct Source {
    registry: Registry,
    files: Folder,
    component: Vec<u8>,
    key: KeyPair,
}

impl Source {
    async fn start() -> Result<Self> {
        let authentication = Authentication::Basic { user: "jane".to_owned(), password: "s3cret".to_owned() };
        let options = RegistryOptions { tls: true, authentication, ..RegistryOptions::default() };
        let (registry, key) = (Registry::start(options).await?, KeyPair::generate()?);
        let component = guest("reader", Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let files = Folder::new();
        files.write("ca.crt", registry.ca_pem().unwrap());
        files.write("key.pem", key.serialize_pem());
        files.write("other.pem", KeyPair::generate()?.serialize_pem());
        let login = json!({ "auths": { registry.host(): { "username": "jane", "password": "s3cret" } } });
        files.write("login.json", login.to_string());
        Ok(Self { registry, files, component, key })
    }

    fn reference(&self, tag: &str) -> String {
        format!("{}/checks/reader:{tag}", self.registry.host())
    }

    /// Pushes a component with a tag, signed by a key.
    fn push(&self, component: &[u8], tag: &str, key: Option<&str>) {
        self.files.write("reader.wasm", component);
        let reference = self.reference(tag);
        let mut arguments = vec!["module", "push", "reader.wasm", &reference, "--registry-ca-file", "ca.crt"];
        arguments.extend(["--registry-config", "login.json"]);
        arguments.extend(key.into_iter().flat_map(|key| ["--sign-key", key]));
        run(kube_devops().current_dir(self.files.path()).args(arguments)).exits(0);
    }

    fn module(&self, tag: &str) -> Value {
        json!({
            "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": "reader" },
            "spec": {
                "source": { "oci": {
                    "reference": self.reference(tag), "pullSecret": PULL_SECRET, "caBundle": self.registry.ca_pem(),
                } },
                "verify": { "publicKeys": [self.key.public_key_pem()] },
                "grants": ["object"],
            },
        })
    }

    async fn set_password(&self, namespace: &Namespace, password: &str) -> Result<()> {
        let server = format!("--docker-server={}", self.registry.host());
        let password = format!("--docker-password={password}");
        let create = [
            "create",
            "secret",
            "docker-registry",
            PULL_SECRET,
            "--docker-username=jane",
            "--dry-run=client",
            "-o",
            "json",
        ];
        let secret = namespace.kubectl(create.into_iter().chain([server.as_str(), password.as_str()])).await?;
        apply(namespace, &secret).await
    }
}

/// Asks for a resolution at once.
async fn resolve(namespace: &Namespace, value: &str) -> Result<()> {
    let annotation = format!("devops.stochastic.io/resolve={value}");
    namespace.kubectl(["annotate", "--overwrite", "policymodule", "reader", &annotation]).await?;
    Ok(())
}

async fn expect(operator: &Controller, namespace: &Namespace, reason: &str, text: &str) -> Result<Value> {
    expect_module(operator, namespace, "reader", reason, text).await
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a str {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.map_or("", |condition| condition["status"].as_str().unwrap())
}

fn series(component: &[u8]) -> String {
    format!("policy_module_loaded{{digest=\"{}\",module=\"reader\"}}", Digest::of(component))
}

async fn expect_denial(webhook: &Controller, namespace: &Namespace) -> Result<()> {
    eventually(DEADLINE, "the webhook to deny a pod", async || {
        let error = denial(namespace).await.context("the pod was admitted")?;
        ensure!(error.contains("(reader, high, policy custom)"), "{error}");
        Ok(())
    })
    .await
    .with_context(|| webhook.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_a_registry_is_verified_replaced_and_kept() -> Result<()> {
    let (source, setting) = (Source::start().await?, Setting::start().await?);
    let cache = Folder::new();
    let folder = |name: &str| cache.path().join(name).display().to_string();
    let (operator_cache, webhook_cache) = (folder("operator"), folder("webhook"));
    let mut operator = setting.operator_with(&["--module-cache-dir", &operator_cache]).await?;
    let webhook = Webhook::start_for_operator(&setting, &["--module-cache-dir", &webhook_cache]).await?;
    let (system, namespace) = (setting.namespace(), setting.plane.namespace("shop").await?);
    let first = source.component.clone();

    // The webhook names the field that is wrong.
    let mut invalid = source.module("1");
    invalid["spec"]["source"]["oci"]["reference"] = json!("reader:1");
    let denied = format!("{:#}", apply(system, &invalid.to_string()).await.unwrap_err());
    ensure!(denied.contains("spec.source.oci.reference") && denied.contains("has no repository"), "{denied}");

    // Everything that is missing is named, and tried again when the user says so.
    apply(system, &source.module("1").to_string()).await?;
    let status = expect(&operator, system, "PullSecretMissing", "there is no Secret kube-devops-registry").await?;
    ensure!(status["nextRetry"].is_string() && condition(&status, "Resolved") == "False", "{status:#}");
    source.set_password(system, "wrong").await?;
    resolve(system, "a").await?;
    expect(&operator, system, "AccessDenied", "the Secret kube-devops-registry, key").await?;
    source.set_password(system, "s3cret").await?;
    resolve(system, "b").await?;
    expect(&operator, system, "NotFound", "does not have the manifest 1 in checks/reader").await?;
    source.push(&first, "1", None);
    resolve(system, "c").await?;
    let status = expect(&operator, system, "SignatureInvalid", "the module is not signed").await?;
    ensure!(condition(&status, "Verified") == "False" && condition(&status, "Resolved") == "True", "{status:#}");
    source.push(&first, "1", Some("other.pem"));
    resolve(system, "d").await?;
    expect(&operator, system, "SignatureInvalid", "a signature is not by one of the keys").await?;
    source.push(&first, "1", Some("key.pem"));
    resolve(system, "e").await?;
    let status = expect(&operator, system, "Active", "").await?;
    ensure!(condition(&status, "Verified") == "True" && status["nextRetry"].is_null(), "{status:#}");
    assert_eq!(status["source"]["reference"], json!(source.reference("1")));
    operator.expect_metric(&series(&first), Some(1.0)).await?;
    webhook.process.expect_metric(&series(&first), Some(1.0)).await?;

    let spec = json!({ "forbidLatestTag": true, "checks": [{ "check": "reader", "severity": "high" }] });
    apply(&namespace, &policy("custom", &spec)).await?;
    expect_denial(&webhook.process, &namespace).await?;

    // Other keys are required at once, and a missing grant is noticed.
    let mut changed = source.module("1");
    changed["spec"]["verify"]["publicKeys"] = json!([KeyPair::generate()?.public_key_pem()]);
    apply(system, &changed.to_string()).await?;
    let status = expect(&operator, system, "SignatureInvalid", "a signature is not by one of the keys").await?;
    ensure!(status["digest"].is_null(), "a version that the new keys do not trust is not used: {status:#}");
    operator.expect_metric(&series(&first), None).await?;
    webhook.process.expect_metric(&series(&first), None).await?;
    changed = source.module("1");
    changed["spec"]["grants"] = json!([]);
    apply(system, &changed.to_string()).await?;
    expect(&operator, system, "LoadFailed", "which is not granted").await?;
    apply(system, &source.module("1").to_string()).await?;
    expect(&operator, system, "Active", "").await?;
    expect_denial(&webhook.process, &namespace).await?;

    // A new version of the tag takes over without a request that is not evaluated by the check.
    let second = with_section(&first, b'a');
    source.push(&second, "1", Some("key.pem"));
    resolve(system, "f").await?;
    eventually(DEADLINE, "the next version", async || {
        let error = denial(&namespace).await.context("a pod was admitted")?;
        assert!(error.contains("(reader, high, policy custom)"), "{error}");
        ensure!(webhook.process.metric(&series(&second))? == Some(1.0));
        Ok(())
    })
    .await
    .with_context(|| webhook.process.log())?;
    operator.expect_metric(&series(&second), Some(1.0)).await?;
    let good = get(system, "policymodule", "reader").await?["status"]["source"]["digest"].clone();

    // An unsigned version changes nothing, also for a replica that starts now.
    source.push(&with_section(&first, b'b'), "1", None);
    resolve(system, "g").await?;
    let text = format!("the last good version {} stays active", Digest::of(&second));
    let status = expect(&operator, system, "SignatureInvalid", &text).await?;
    assert_eq!(status["source"]["digest"], good);
    operator.stop().await?;
    let operator = setting.operator_with(&["--module-cache-dir", &folder("new")]).await?;
    operator.expect_metric(&series(&second), Some(1.0)).await?;
    expect(&operator, system, "SignatureInvalid", &text).await?;
    drop(operator);

    // Without the registry, a replica with a cache has the module, and is ready.
    drop(source.registry);
    let operator = setting.operator_with(&["--module-cache-dir", &operator_cache]).await?;
    operator.ready().await?;
    operator.expect_metric(&series(&second), Some(1.0)).await?;
    expect(&operator, system, "RegistryUnreachable", &text).await?;
    expect_denial(&webhook.process, &namespace).await?;
    Ok(())
}

/// A registry with a large module, of which a byte arrives each second. Returns its host.
async fn slow_registry() -> Result<(String, tokio::task::JoinHandle<()>)> {
    let component = vec![0; 20_971_000];
    let module = Module { component: &component, title: "a.wasm", version: None, imports: &[], exports: &[] };
    let manifest = Layout::of(&module).manifest;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let router = Router::new().fallback(move |request: Request| {
        let manifest = manifest.clone();
        async move {
            if !request.uri().path().contains("/blobs/") {
                return Body::from(manifest);
            }
            Body::from_stream(futures::stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b"\0")), ()))
            }))
        }
    });
    Ok((host, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })))
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_send_slowly_do_not_delay_the_module_of_another_one() -> Result<()> {
    let (slow, server) = slow_registry().await?;
    let (registry, files) = (Registry::start(RegistryOptions::default()).await?, Folder::new());
    files.write("reader.wasm", guest("reader", Path::new(env!("CARGO_TARGET_TMPDIR")))?);
    let good = format!("{}/checks/reader:1", registry.host());
    run(kube_devops().current_dir(files.path()).args(["module", "push", "reader.wasm", &good])).exits(0);
    let setting = Setting::start().await?;
    let (operator, system) = (setting.operator().await?, setting.namespace());
    let module = |name: &str, reference: &str| {
        json!({
            "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": name },
            "spec": { "source": { "oci": { "reference": reference, "plainHTTP": true } }, "grants": ["object"] },
        })
        .to_string()
    };
    let names: Vec<String> = (0..2).map(|number| format!("slow-{number}")).collect();
    for name in &names {
        apply(system, &module(name, &format!("{slow}/checks/{name}:1"))).await?;
    }
    for name in &names {
        expect_module(&operator, system, name, "Pending", "").await?;
    }
    apply(system, &module("reader", &good)).await?;
    expect(&operator, system, "Active", "").await?;
    // Those that are slow say so in the end.
    expect_module(&operator, system, &names[0], "RegistryUnreachable", "at least 64 KiB per second are needed").await?;
    server.abort();
    Ok(())
}
