//! Modules are compiled in a child process: one that needs too much memory is an error of this module alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use anyhow::{Context, Result, ensure};
use end_to_end::guests::guest;
use end_to_end::objects::good_pod;
use end_to_end::operator::{Setting, apply, expect_module, get, policy};
use end_to_end::webhook::{Webhook, denial};
use end_to_end::{Folder, kube_devops, run};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};

/// The most memory of a compilation, in MiB: enough for a component of the SDK.
const MEMORY: &str = "96";
const TOO_MUCH: &str = "compiling the module needs more than 100 MB of memory";

/// An unsigned number in the encoding of WebAssembly.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &number(content.len())[..], content].concat()
}

/// A component of 250 kB that exports a check, and whose only function consists of conversions between numbers: compiling it needs
/// hundreds of megabytes.
fn expensive() -> Vec<u8> {
    // No locals; the parameter; each conversion to a floating-point number and back; the end.
    let body = [&[0x00, 0x20, 0x00][..], &[0xb9, 0xb0].repeat(125_000), &[0x0b]].concat();
    let code = section(10, &[&[1][..], &number(body.len()), &body].concat());
    let function = [section(1, b"\x01\x60\x01\x7e\x01\x7e"), section(3, &[1, 0]), code].concat();
    let module = [&b"\0asm\x01\0\0\0"[..], &function].concat();
    let name = b"devops:policy/check@0.2.0";
    let export = [&[1, 0][..], &number(name.len()), name, &[5, 0, 0]].concat();
    let instance = section(5, &[1, 1, 0]);
    [&b"\0asm\x0d\0\x01\0"[..], &section(1, &module), &instance, &section(11, &export)].concat()
}

/// A PolicyModule with the component in a ConfigMap of the same name.
fn module(name: &str) -> Value {
    json!({
        "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": name },
        "spec": { "source": { "configMap": { "name": name } } },
    })
}

/// Creates a PolicyModule, and the ConfigMap with its component.
async fn create(namespace: &Namespace, name: &str, component: &[u8]) -> Result<()> {
    let folder = Folder::new();
    let file = format!("--from-file={}", folder.write("module.wasm", component).display());
    namespace.kubectl(["create", "configmap", name, &file]).await?;
    apply(namespace, &module(name).to_string()).await
}

#[tokio::test]
async fn a_module_that_needs_too_much_memory_affects_no_other() -> Result<()> {
    let labels = tokio::task::spawn_blocking(|| guest("labels", Path::new(env!("CARGO_TARGET_TMPDIR")))).await??;
    let setting = Setting::start().await?;
    let limited = ["--compile-memory", MEMORY];
    let (operator, namespace) = (setting.operator_with(&limited).await?, setting.plane.namespace("shop").await?);
    let webhook = Webhook::start_for_operator(&setting, &limited).await?;
    let system = setting.namespace();
    create(system, "expensive", &expensive()).await?;
    create(system, "labels", &labels).await?;
    expect_module(&operator, system, "expensive", "MemoryLimit", TOO_MUCH).await?;
    expect_module(&operator, system, "labels", "Active", "").await?;
    // Another process has to compile both again, as after a restart of the container.
    drop(operator);
    let operator = setting.operator_with(&limited).await?;
    for process in [&operator, &webhook.process] {
        process.expect_metric("policy_module_ready{module=\"labels\"}", Some(1.0)).await?;
        process.expect_metric("policy_module_ready{module=\"expensive\"}", Some(0.0)).await?;
        process.expect_log(TOO_MUCH).await?;
    }
    apply(&namespace, &policy("custom", &json!({ "checks": [{ "check": "labels", "severity": "high" }] }))).await?;
    eventually(DEADLINE, "the webhook to deny a pod", async || {
        let error = denial(&namespace).await.context("the pod was admitted")?;
        ensure!(error.contains("(labels, high, policy custom)"), "{error}");
        Ok(())
    })
    .await
    .with_context(|| webhook.process.log())
}

#[tokio::test]
async fn other_modules_have_a_status_while_one_is_being_compiled() -> Result<()> {
    let setting = Setting::start().await?;
    let (operator, system) = (setting.operator().await?, setting.namespace());
    create(system, "expensive", &expensive()).await?;
    let compiler = eventually(DEADLINE, "the compilation", async || {
        operator.children()?.pop().context("no module is being compiled")
    })
    .await?;
    kill_process(compiler, Signal::STOP)?;
    apply(system, &module("missing").to_string()).await?;
    expect_module(&operator, system, "missing", "SourceInvalid", "there is no ConfigMap missing").await?;
    let status = get(system, "policymodule", "expensive").await?["status"].take();
    ensure!(status.is_null(), "it was compiled already: {status:#}");
    kill_process(compiler, Signal::CONT)?;
    expect_module(&operator, system, "expensive", "LoadFailed", "does not have export `describe`").await?;
    Ok(())
}

#[test]
fn the_command_line_reports_a_module_that_needs_too_much_memory() {
    let folder = Folder::new();
    let module = folder.write("expensive.wasm", expensive());
    let manifest = folder.write("pod.json", good_pod("web").to_string());
    let cache = folder.path().join("cache");
    let limited = |arguments: &[&str]| {
        let mut command = kube_devops();
        command.args(arguments).env("KUBE_DEVOPS_CACHE_DIR", &cache).env("KUBE_DEVOPS_COMPILE_MEMORY", MEMORY);
        command
    };
    let more = "raise --compile-memory";
    run(limited(&["module", "inspect"]).arg(&module)).exits(2).complains(&[TOO_MUCH, more]);
    run(limited(&["analyze", "-f"]).arg(&manifest).arg("--module").arg(&module)).exits(2).complains(&[TOO_MUCH]);
    run(limited(&["module", "inspect", "--compile-memory", "8"]).arg(&module)).exits(2).complains(&["32..=65536"]);
}
