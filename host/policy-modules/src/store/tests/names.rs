//! Which module has the name of a check or of a bundle.

use super::*;

#[test]
fn a_new_version_cannot_take_over_the_check_of_another_module() {
    let held = |name: &str, created: i64, checks: &[&str]| {
        let mut module = object(name, name);
        let time = k8s_openapi::jiff::Timestamp::from_second(created).unwrap_or_default();
        module.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        let checks = checks.iter().map(|check| (*check).to_owned()).collect();
        module.status = Some(PolicyModuleStatus { checks, ..PolicyModuleStatus::default() });
        module
    };
    let mut store = ModuleStore::new(100);
    store.set(held("old", 1, &["old-a"]));
    store.set(held("young", 2, &["young-a"]));
    let owner = |store: &ModuleStore, id: &str| store.held_names().get(&("check", id.to_owned())).cloned();
    assert_eq!(owner(&store, "young-a").as_deref(), Some("young"));
    // If two statuses contain a name, the oldest module has it.
    store.set(held("old", 1, &["old-a", "young-a"]));
    assert_eq!(owner(&store, "young-a").as_deref(), Some("old"));
    store.remove("old");
    assert_eq!(owner(&store, "young-a").as_deref(), Some("young"));
}

#[test]
fn a_check_and_a_bundle_with_the_same_name_exist_beside_each_other() {
    let mut store = ModuleStore::new(100);
    for (name, checks, bundle) in [("checks", vec!["labels".to_owned()], None), ("bundle", vec![], Some("labels"))] {
        let status = PolicyModuleStatus { checks, bundle: bundle.map(str::to_owned), ..PolicyModuleStatus::default() };
        store.set(PolicyModule { status: Some(status), ..object(name, name) });
    }
    let held = |kind, owner: &str| ((kind, "labels".to_owned()), owner.to_owned());
    assert_eq!(store.held_names(), BTreeMap::from([held("check", "checks"), held("bundle", "bundle")]));
}
