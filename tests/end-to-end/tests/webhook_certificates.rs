//! The webhook's certificate: made by a command, replaced in files, or kept by the webhook itself.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use end_to_end::http::{Http, Trust};
use end_to_end::objects::bad_pod;
use end_to_end::operator::{Setting, apply, get};
use end_to_end::webhook::{Webhook, generate, is_asked, namespace_with_bundle, review_of};
use end_to_end::{Controller, Folder, kube_devops, run, service_account};
use k8s_openapi::ByteString;
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, eventually};

#[test]
fn cert_generate_writes_what_serve_and_install_config_need() {
    let folder = Folder::new();
    let target = folder.path().join("new/folder");
    let mut command = kube_devops();
    command.args(["webhook", "cert-generate", "--service-name", "guard", "--namespace", "platform"]);
    command.args(["--ip-san", "192.168.1.26", "::1", "--output-dir"]).arg(&target);
    let said = run(&mut command).exits(0).stdout;
    for part in ["guard.platform.svc.cluster.local", "192.168.1.26", "::1", "good for 365 days", "tls.key", "ca.crt"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mode = |name: &str| std::fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tls.key"), mode("tls.crt"), mode("ca.crt")), (0o600, 0o644, 0o644));
    let read = |name: &str| std::fs::read_to_string(target.join(name)).unwrap();
    assert!(!read("ca.crt").contains("PRIVATE KEY") && read("tls.crt") != read("ca.crt"));
    // A second time: the authority of before is trusted for as long as somebody may serve its certificate.
    let before = read("ca.crt");
    run(kube_devops().args(["webhook", "cert-generate", "--output-dir"]).arg(&target)).exits(0);
    let now = read("ca.crt");
    assert!(now.ends_with(&before) && now.len() > before.len(), "{now}");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 3, "nothing else is left behind");

    // The configuration holds them, and no key.
    let bundle = target.join("ca.crt");
    let mut command = kube_devops();
    command.args(["webhook", "install-config", "--ca-bundle-path"]).arg(&bundle);
    let configuration: Value = serde_norway::from_str(&run(&mut command).exits(0).stdout).unwrap();
    let webhook = &configuration["webhooks"][0];
    let encoded = serde_json::to_value(ByteString(now.into_bytes())).unwrap();
    assert_eq!(webhook["clientConfig"]["caBundle"], encoded);
    assert_eq!(webhook["clientConfig"]["service"]["name"], "kube-devops-webhook");
    assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&"Ignore".into(), &"None".into()));
    assert_eq!((&webhook["matchPolicy"], &webhook["timeoutSeconds"]), (&"Equivalent".into(), &5.into()));
    let spared = webhook["namespaceSelector"]["matchExpressions"][0]["values"].to_string();
    assert!(spared.contains("\"kube-system\"") && spared.contains("\"kube-devops\""), "{spared}");
}

#[test]
fn what_is_no_certificate_is_explained() {
    let folder = Folder::with([("text", "no certificate"), ("kubeconfig", &end_to_end::kubeconfig_of_nothing())]);
    generate(&folder);
    let path = |name: &str| folder.path().join(name);
    let install = |name: &str| {
        let mut command = kube_devops();
        command.args(["webhook", "install-config", "--ca-bundle-path"]).arg(path(name));
        run(&mut command)
    };
    install("text").exits(2).complains(&["--ca-bundle-path", "text", "no certificate"]);
    install("nothing").exits(2).complains(&["--ca-bundle-path", "nothing", "No such file"]);
    install("tls.key").exits(2).complains(&["tls.key"]);
    let serve = |certificate: &str, key: &str| {
        let mut command = kube_devops();
        command.args(["webhook", "serve", "--addr", "127.0.0.1:0", "--kubeconfig"]).arg(path("kubeconfig"));
        run(command.arg("--tls-cert").arg(path(certificate)).arg("--tls-key").arg(path(key)))
    };
    serve("text", "tls.key").exits(2).complains(&["certificate"]);
    serve("tls.crt", "text").exits(2).complains(&["key"]);
    serve("ca.crt", "tls.key").exits(2).complains(&["certificate"]);
    serve("nothing", "tls.key").exits(2).complains(&["nothing", "No such file"]);
    run(kube_devops().args(["webhook", "serve", "--tls-cert", "tls.crt"])).exits(2).complains(&["--tls-key"]);
    run(kube_devops().args(["webhook", "install-config", "--url", "http://x"])).exits(2).complains(&["https://"]);
    run(kube_devops().args(["webhook", "install-config", "--resource", "rollouts"]))
        .exits(2)
        .complains(&["argoproj.io"]);
    // A folder that cannot be written into leaves nothing behind.
    let file = path("text").join("folder");
    run(kube_devops().args(["webhook", "cert-generate", "--output-dir"]).arg(&file)).exits(2).complains(&["text"]);
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_served_and_no_connection_is_dropped() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let webhook = Webhook::start(&setting, &[]).await?;
    let process = &webhook.process;
    let trusting = |ca_bundle: Arc<str>| Http { address: process.http().address, trust: Trust::Authorities(ca_bundle) };
    let before = trusting(webhook.ca_bundle()?);
    assert_eq!(before.get("/healthz")?.0, 200);
    let mut open = before.connect()?;
    let expiry = process.metric("webhook_certificate_expiry_timestamp_seconds")?.unwrap();
    assert!(expiry > 1_700_000_000.0, "{expiry}");

    // What is only half replaced, or is no certificate, is not served.
    let folder = webhook.certificates().path();
    let key = std::fs::read(folder.join("tls.key"))?;
    std::fs::write(folder.join("tls.key"), "half")?;
    eventually(DEADLINE, "a complaint", async || {
        ensure!(process.log().contains("the certificate was not replaced"), "{}", process.log());
        Ok(())
    })
    .await?;
    assert_eq!(before.get("/healthz")?.0, 200);
    std::fs::write(folder.join("tls.key"), key)?;

    std::fs::remove_file(folder.join("ca.crt"))?;
    generate(webhook.certificates());
    let after = trusting(webhook.ca_bundle()?);
    eventually(DEADLINE, "the new certificate", async || {
        ensure!(after.get("/healthz")?.0 == 200);
        Ok(())
    })
    .await
    .with_context(|| process.log())?;
    assert!(before.get("/healthz").is_err(), "the old one is served no more");
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    let _ = open.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "the connection of before goes on: {answer:?}");
    Ok(())
}

/// A replica that keeps its certificate itself.
async fn replica(setting: &Setting, identity: &str) -> Result<Controller> {
    let account = service_account(&setting.plane, setting.namespace(), Component::Webhook).await?;
    let arguments = [
        "webhook",
        "serve",
        "--ip-san",
        "127.0.0.1",
        "--drain",
        "0",
        "--lease-duration",
        "3",
        "--identity",
        identity,
        "--lease-namespace",
        setting.namespace().name(),
    ];
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Controller::start_at(&setting.plane, account.path(), any, Trust::Anybody, &arguments).await
}

async fn secret(setting: &Setting, key: &str) -> Result<Arc<str>> {
    let secret = get(setting.namespace(), "secret", "kube-devops-webhook-tls").await?;
    let value: ByteString = serde_json::from_value(secret["data"][key].clone())?;
    Ok(String::from_utf8(value.0)?.into())
}

/// How often Secrets have been looked at.
async fn looks_at_secrets(setting: &Setting) -> Result<u64> {
    let metrics = setting.plane.kubectl(["get", "--raw", "/metrics"]).await?;
    let is_look = |line: &&str| {
        let has = |label| line.contains(label);
        line.starts_with("apiserver_request_total{") && has("resource=\"secrets\"") && has("verb=\"GET\"")
    };
    Ok(metrics.lines().filter(is_look).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

#[tokio::test]
async fn replicas_agree_on_a_certificate_and_change_it_without_anybody_noticing() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let mut first = replica(&setting, "first").await?;
    let second = replica(&setting, "second").await?;
    first.ready().await?;
    second.ready().await?;
    let trusting = |process: &Controller, ca_bundle: &Arc<str>| Http {
        address: process.http().address,
        trust: Trust::Authorities(ca_bundle.clone()),
    };
    let ca_bundle = secret(&setting, "ca.crt").await?;
    for process in [&first, &second] {
        assert_eq!(trusting(process, &ca_bundle).get("/healthz")?.0, 200);
    }

    // The configuration comes later, and without an authority: whoever leads enters it.
    let url = format!("https://{}", second.http().address);
    let mut command = kube_devops();
    command.args(["webhook", "install-config", "--url", &url, "--namespace", setting.namespace().name()]);
    let configuration = run(&mut command).exits(0).complains(&["--ip-san"]).stdout;
    setting.plane.kubectl_with_input(["apply", "-f", "-"], &configuration).await?;
    is_asked(&setting, &second).await?;
    let namespace = namespace_with_bundle(&setting, &second, "restricted").await?;

    // The Secret is deleted, as somebody does who fears for the key. Nothing is let in meanwhile.
    setting.namespace().kubectl(["delete", "secret", "kube-devops-webhook-tls"]).await?;
    let renewed = eventually(DEADLINE, "both replicas with a new certificate", async || {
        let refused = namespace.kubectl(["run", "web", "--image=nginx"]).await;
        ensure!(refused.is_err_and(|error| format!("{error:#}").contains("denied the request")), "a pod was let in");
        let renewed = secret(&setting, "ca.crt").await?;
        ensure!(renewed != ca_bundle, "it is the old one");
        let newest = renewed.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default();
        for process in [&first, &second] {
            ensure!(trusting(process, &newest.into()).get("/healthz")?.0 == 200);
        }
        Ok(renewed)
    })
    .await
    .with_context(|| format!("{}\n{}", first.log(), second.log()))?;
    assert!(renewed.contains(ca_bundle.trim()), "the old authority stays until all have moved");
    let pods = end_to_end::operator::list(&namespace, "pods").await?;
    assert!(pods.is_empty(), "{pods:#?}");

    // API servers cannot be told of the next one, because somebody has taken that right away: the old one is served on.
    let role = format!("{}-webhook", setting.namespace().name());
    let with_rights: Value =
        serde_json::from_str(&setting.plane.kubectl(["get", "clusterrole", &role, "-o", "json"]).await?)?;
    let mut without = with_rights.clone();
    for rule in without["rules"].as_array_mut().unwrap() {
        if rule["resources"][0] == "validatingwebhookconfigurations" {
            rule["verbs"] = json!(["get"]);
        }
    }
    let mut with_rights = with_rights;
    for role in [&mut without, &mut with_rights] {
        role["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    }
    setting.plane.kubectl_with_input(["replace", "-f", "-"], &without.to_string()).await?;
    setting.namespace().kubectl(["delete", "secret", "kube-devops-webhook-tls"]).await?;
    let unknown = eventually(DEADLINE, "a certificate that nobody trusts", async || {
        let made = secret(&setting, "ca.crt").await?;
        ensure!(made != renewed, "it is the old one");
        Ok(made)
    })
    .await?;
    let looks = looks_at_secrets(&setting).await?;
    eventually(DEADLINE, "both replicas to have looked at it", async || {
        for process in [&first, &second] {
            assert_eq!(trusting(process, &renewed).get("/healthz").unwrap().0, 200, "{}", process.log());
        }
        ensure!(looks_at_secrets(&setting).await? >= looks + 6);
        Ok(())
    })
    .await?;
    setting.plane.kubectl_with_input(["replace", "-f", "-"], &with_rights.to_string()).await?;
    let newest: Arc<str> = unknown.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default().into();
    eventually(DEADLINE, "both replicas with that certificate", async || {
        for process in [&first, &second] {
            ensure!(trusting(process, &newest).get("/healthz")?.0 == 200);
        }
        Ok(())
    })
    .await
    .with_context(|| format!("{}\n{}", first.log(), second.log()))?;

    // The leader is killed; the other one keeps the certificate from then on.
    first.kill()?;
    setting.namespace().kubectl(["delete", "secret", "kube-devops-webhook-tls"]).await?;
    eventually(DEADLINE, "a new Secret", async || {
        ensure!(secret(&setting, "ca.crt").await? != unknown);
        Ok(())
    })
    .await
    .with_context(|| second.log())?;
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_is_asked_to_stop_says_so_and_answers_until_it_is_gone() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let mut webhook = Webhook::start(&setting, &[]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    webhook.process.stop().await?;
    let account = service_account(&setting.plane, setting.namespace(), Component::Webhook).await?;
    let path = |name: &str| webhook.certificates().path().join(name).display().to_string();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let arguments = [
        "webhook",
        "serve",
        "--drain",
        "3",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--lease-namespace",
        setting.namespace().name(),
    ];
    let address = webhook.process.http().address;
    let mut draining =
        Controller::start_at(&setting.plane, account.path(), address, Trust::Anybody, &arguments).await?;
    draining.ready().await?;
    let review = review_of(&bad_pod("bad"), namespace.name()).to_string();
    let mut open = draining.http().connect()?;
    let request = end_to_end::http::post("/validate", "application/json", review.as_bytes());
    open.write_all(&request[..100])?;
    draining.terminate()?;
    eventually(DEADLINE, "it to be unready", async || {
        ensure!(draining.get("/readyz")?.0 == 503);
        Ok(())
    })
    .await?;
    let answer = draining.http().post("/validate", review.as_bytes())?;
    assert!(answer.1.contains("\"allowed\":false"), "{answer:?}");
    // A request that has begun is answered.
    open.write_all(&request[100..])?;
    assert!(open.read_answer()?.1.contains("\"allowed\":false"));
    draining.stop().await?;
    assert!(draining.http().connect().is_err());
    apply(&namespace, &bad_pod("bad").to_string()).await.context("nobody is there to deny it")?;
    Ok(())
}
