//! The embedded modules can be loaded, have the expected descriptions, and only import types and the log.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube_devops_core::policy_fields::POLICY_FIELDS;
use kube_devops_core::{Enforcement, Severity, Stage};
use kube_devops_engine::{Checks, Engine, Limits};
use kube_devops_modules::{bundles, checks};
use serde_json::json;

fn engine() -> Engine {
    Engine::new(Limits::default()).unwrap()
}

#[test]
fn checks_have_the_expected_metadata() {
    let checks = checks(&engine()).unwrap();
    let facts: Vec<_> = checks
        .values()
        .map(|check| {
            let info = check.info();
            (info.id.as_str(), info.stage, info.weight, info.severity, info.remediates, info.default_settings.clone())
        })
        .collect();
    let medium = Severity::Medium;
    assert_eq!(
        facts,
        [
            ("high-restarts", Stage::Runtime, 6, medium, false, json!({"threshold": 3})),
            ("latest-tag", Stage::Spec, 5, medium, false, json!({})),
            ("missing-liveness", Stage::Spec, 3, medium, true, json!({})),
            ("missing-readiness", Stage::Spec, 2, medium, true, json!({})),
            ("pending", Stage::Runtime, 4, medium, false, json!({"seconds": 300})),
        ]
    );
}

#[test]
fn every_check_has_the_name_of_its_folder() {
    let checks = checks(&engine()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for id in checks.keys() {
        assert!(root.join("policies").join(id).is_dir(), "policies/{id}");
    }
    assert!(POLICY_FIELDS.iter().all(|field| checks.contains_key(field.check)), "{:?}", checks.keys());
}

#[test]
fn bundles_select_existing_checks_with_valid_settings() {
    let engine = engine();
    let checks = Checks::new(checks(&engine).unwrap(), Limits::default());
    let bundles = bundles(&engine).unwrap();
    let names: Vec<_> = bundles.iter().map(|module| module.bundle().name.as_str()).collect();
    assert_eq!(names, ["baseline", "permissive", "restricted"]);
    for module in &bundles {
        let bundle = module.bundle();
        checks.rule_set(&bundle.policy()).unwrap_or_else(|error| panic!("{}: {error}", bundle.name));
    }
    let enforcing: Vec<_> = bundles
        .iter()
        .filter(|module| module.bundle().enforcement == Enforcement::Enforce)
        .map(|module| module.bundle().name.as_str())
        .collect();
    assert_eq!(enforcing, ["restricted"]);
}

#[test]
fn components_only_import_types_and_the_log_and_export_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let engine = engine();
    let mut exports = BTreeMap::new();
    for (folder, interfaces) in [
        ("policies", &["devops:policy/check@0.2.0", "devops:policy/packed@0.2.0"][..]),
        ("bundles", &["devops:policy/bundle@0.2.0"]),
    ] {
        for built in kube_devops_build_components::build(&[root.join(folder)], &target_directory()).unwrap() {
            let component = engine.compile(&built.bytes).unwrap();
            let shape = component.component_type();
            for (import, _) in shape.imports(engine.wasmtime()) {
                let allowed = ["devops:policy/types@0.2.0", "devops:policy/log@0.2.0"];
                assert!(allowed.contains(&import), "{} imports {import}", built.folder);
            }
            let exported: Vec<_> = shape.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
            assert_eq!(exported, interfaces, "{}", built.folder);
            exports.insert(built.folder, exported);
        }
    }
    assert_eq!(exports.keys().collect::<Vec<_>>(), ["baseline", "built-in", "permissive", "restricted"]);
}

/// Returns the folder for components of the build of the program.
fn target_directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../components")
}
