//! `module inspect`: the contents and the imports of a module.

use std::fmt::Write;

use anyhow::Result;
use kube_devops_core::text::escape_controls;
use kube_devops_core::{Bundle, CheckInfo, Stage};
use kube_devops_engine::LoadedModule;
use serde_json::{Value, json};

use super::{Outcome, print};
use crate::arguments::{ClusterArguments, InspectFormat, ModuleInspectArguments};
use crate::modules;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ModuleInspectArguments) -> Result<Outcome> {
    let engine = modules::engine(&arguments.source, &arguments.compile)?;
    let module = modules::load(&engine, &arguments.module, &arguments.source, cluster)?;
    match arguments.output {
        InspectFormat::Text => print(&text(&module)),
        InspectFormat::Json => print(&format!("{:#}\n", json(&module))),
    }
}

/// The version of the contract, from the export of the checks or of the bundle.
fn contract(module: &LoadedModule) -> &str {
    let is_ours =
        |name: &&String| name.starts_with("devops:policy/check@") || name.starts_with("devops:policy/bundle@");
    module.exports.iter().find(is_ours).and_then(|name| name.rsplit('@').next()).unwrap_or_default()
}

/// What the component provides.
fn kind(module: &LoadedModule) -> &'static str {
    match (module.checks.is_empty(), module.bundle.is_some()) {
        (false, false) => "checks",
        (true, _) => "bundle",
        (false, true) => "checks and bundle",
    }
}

fn stage(info: &CheckInfo) -> &'static str {
    match info.stage {
        Stage::Spec => "spec",
        Stage::Runtime => "runtime status",
    }
}

fn text(module: &LoadedModule) -> String {
    let mut text = String::new();
    let list = |names: &[String]| escape_controls(&names.join(", "));
    let _ = writeln!(text, "Type        {}", kind(module));
    let _ = writeln!(text, "Digest      {}", module.digest);
    let _ = writeln!(text, "Size        {} bytes", module.size);
    let _ = writeln!(text, "Contract    devops:policy {}", escape_controls(contract(module)));
    let _ = writeln!(text, "Imports     {}", list(&module.imports));
    let _ = writeln!(text, "Exports     {}", list(&module.exports));
    for check in &module.checks {
        let info = check.info();
        let _ = writeln!(text, "\nCheck       {}: {}", info.id, info.title);
        let _ = writeln!(text, "Severity    {}, weight {}, evaluates the {}", info.severity, info.weight, stage(info));
        let _ = writeln!(text, "Settings    {}", info.default_settings);
        let _ = writeln!(text, "Schema      {}", info.settings_schema);
    }
    if let Some(bundle) = module.bundle.as_ref().map(|module| module.bundle()) {
        let _ = writeln!(text, "\nBundle      {}: {}", bundle.name, bundle.title);
        let checks: Vec<&str> = bundle.rules.iter().map(|rule| rule.check.as_str()).collect();
        let _ = writeln!(text, "Checks      {}", checks.join(", "));
    }
    text
}

fn json(module: &LoadedModule) -> Value {
    let check = |info: &CheckInfo| {
        json!({
            "id": info.id, "title": info.title, "severity": info.severity, "weight": info.weight, "evaluates": stage(info),
            "remediates": info.remediates, "needsAnnotations": info.needs_annotations,
            "defaultSettings": info.default_settings, "settingsSchema": info.settings_schema,
        })
    };
    let bundle = |bundle: &Bundle| {
        let checks: Vec<_> = bundle.rules.iter().map(|rule| &rule.check).collect();
        json!({ "name": bundle.name, "title": bundle.title, "checks": checks })
    };
    json!({
        "type": kind(module), "digest": module.digest, "size": module.size, "contract": contract(module), "imports": module.imports,
        "exports": module.exports, "checks": module.checks.iter().map(|module| check(module.info())).collect::<Vec<_>>(),
        "bundle": module.bundle.as_ref().map(|module| bundle(module.bundle())),
    })
}
