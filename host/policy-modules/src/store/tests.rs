use k8s_openapi::ByteString;
use kube_devops_cluster::crd::condition::READY;
use kube_devops_cluster::crd::{ConfigMapSource, ModuleSource, OciSource, PolicyModuleSpec};
use kube_devops_engine::{Engine, Limits};

use chrono::DateTime;
use tokio::time::Instant;

use super::*;

mod loading;
mod names;

const ALL: Capacity = Capacity { fetch: true, load: true };
/// Enough versions are being fetched.
const FULL: Capacity = Capacity { fetch: false, load: true };

fn now() -> Now {
    Now { utc: DateTime::UNIX_EPOCH, instant: Instant::now() }
}

fn object(name: &str, map: &str) -> PolicyModule {
    let config_map = Some(ConfigMapSource { name: map.to_owned(), key: None });
    let source = ModuleSource { config_map, oci: None };
    PolicyModule::new(name, PolicyModuleSpec { source, ..PolicyModuleSpec::default() })
}

fn map(bytes: &str) -> Option<ConfigMap> {
    let data = [("a.wasm".to_owned(), ByteString(bytes.as_bytes().to_vec()))].into();
    Some(ConfigMap { binary_data: Some(data), ..ConfigMap::default() })
}

fn module(digest: &str) -> Arc<LoadedModule> {
    let (imports, exports) = (Vec::new(), Vec::new());
    Arc::new(LoadedModule { digest: digest.to_owned(), size: 1, imports, exports, checks: Vec::new(), bundle: None })
}

fn catalog() -> Catalog {
    let engine = Engine::new(Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    Catalog::new(engine, BTreeMap::new(), [])
}

/// The status, the reason and the message of the condition Ready, and the active digest.
fn ready(store: &ModuleStore) -> Vec<(String, String, Option<String>)> {
    let statuses = store.statuses(None, now()).into_iter();
    let ready = statuses.filter_map(|(_, status)| {
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == READY)?;
        Some((condition.reason, condition.message, status.digest))
    });
    ready.collect()
}

/// Whether the only module has an active current version.
fn is_ready(store: &ModuleStore) -> bool {
    store.ready() == BTreeMap::from([("labels".to_owned(), true)])
}

/// Loads the next version with this result.
fn load(store: &mut ModuleStore, result: Result<(), &str>) -> String {
    let Some(load) = store.next_load(now()) else { panic!("there is nothing to load") };
    let digest = load.content.digest.clone();
    let failure =
        |message: &str| LoadFailure { reason: "LoadFailed", message: message.to_owned(), is_temporary: false };
    store.loaded(load, result.map(|()| module(&digest)).map_err(failure), Now::read());
    digest
}

#[test]
fn a_module_is_loaded_when_its_source_is_known_and_when_it_changes() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    assert!(!store.is_settled() && store.next_load(now()).is_none() && store.statuses(None, now()).is_empty());
    store.set_config_map("checks", map("one"));
    let one = load(&mut store, Ok(()));
    assert!(store.is_settled() && !is_ready(&store));
    assert!(store.activate(&base, &mut active).is_some() && is_ready(&store));
    assert_eq!(active["labels"], one);
    assert_eq!(ready(&store)[0].0, "Active");

    store.set_config_map("checks", map("one"));
    store.set(object("labels", "checks"));
    assert!(store.next_load(now()).is_none(), "the same bytes are not loaded twice");
    store.set_config_map("checks", map("two"));
    assert!(!is_ready(&store), "the active version is the previous one");
    let Some(loading) = store.next_load(now()) else { panic!("there is nothing to load") };
    assert!(!is_ready(&store), "the current version is being loaded");
    let two = loading.content.digest.clone();
    store.loaded(loading, Ok(module(&two)), Now::read());
    assert!(store.activate(&base, &mut active).is_some() && active["labels"] == two);
    assert!(store.activate(&base, &mut active).is_none(), "nothing changed");
    assert!(store.remove("labels"));
    assert!(store.activate(&base, &mut active).is_some() && active.is_empty());
}

#[test]
fn the_last_good_version_stays_active() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("good"));
    let good = load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    store.set_config_map("checks", map("bad"));
    load(&mut store, Err("it is broken"));
    assert!(store.activate(&base, &mut active).is_none() && !is_ready(&store));
    let expected = format!("it is broken; the last good version {good} stays active");
    assert_eq!(ready(&store), [("LoadFailed".to_owned(), expected, Some(good.clone()))]);
    store.set_config_map("checks", None);
    assert_eq!((ready(&store)[0].0.as_str(), ready(&store)[0].2.as_ref()), ("SourceInvalid", Some(&good)));
    store.set_config_map("checks", map("good"));
    load(&mut store, Ok(()));
    assert!(store.activate(&base, &mut active).is_none() && is_ready(&store), "it is active already");
    assert_eq!(ready(&store)[0].0, "Active");
}

#[test]
fn a_version_that_lost_its_grants_is_not_used_any_longer() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    let mut changed = object("labels", "checks");
    changed.spec.grants = vec![kube_devops_cluster::crd::Grant::Object];
    store.set(changed);
    load(&mut store, Err("imports object, which is not granted"));
    assert!(store.activate(&base, &mut active).is_some() && active.is_empty());
    let [(reason, message, digest)] = &ready(&store)[..] else { panic!("one status") };
    assert_eq!(
        (reason.as_str(), message.as_str(), digest),
        ("LoadFailed", "imports object, which is not granted", &None)
    );
}

#[test]
fn a_version_of_other_keys_or_grants_is_not_kept_if_there_is_no_new_one() {
    let granted = || {
        let mut granted = object("labels", "checks");
        granted.spec.grants = vec![kube_devops_cluster::crd::Grant::Object];
        granted
    };
    let mut verified = granted();
    verified.spec.verify = Some(kube_devops_cluster::crd::Verification { public_keys: vec!["key".to_owned()] });
    for (changed, is_kept) in [(object("labels", "other"), false), (verified, false), (granted(), true)] {
        let (base, mut active) = (catalog(), BTreeMap::new());
        let mut store = ModuleStore::new(100);
        store.set(granted());
        store.set_config_map("checks", map("one"));
        load(&mut store, Ok(()));
        store.activate(&base, &mut active);
        let mut changed = changed;
        changed.spec.source.config_map = Some(ConfigMapSource { name: "other".to_owned(), key: None });
        store.set(changed);
        assert!(store.activate(&base, &mut active).is_none(), "it stays active until there is a new version");
        store.set_config_map("other", map("two"));
        load(&mut store, Err("it is broken"));
        store.activate(&base, &mut active);
        assert_eq!(active.contains_key("labels"), is_kept);
    }
}

#[test]
fn a_version_that_cannot_be_loaded_now_is_tried_again_after_growing_pauses() {
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    let (mut time, mut pauses) = (now(), Vec::new());
    for _ in 0..3 {
        let Some(load) = store.next_load(time) else { panic!("there is a version") };
        let failure = LoadFailure { reason: "MemoryLimit", message: "too large".to_owned(), is_temporary: true };
        store.loaded(load, Err(failure), time);
        assert!(store.next_load(time).is_none());
        let statuses = store.statuses(None, time);
        let condition = statuses[0].1.conditions.iter().find(|condition| condition.type_ == READY);
        assert_eq!(condition.map(|condition| condition.reason.as_str()), Some("MemoryLimit"));
        let pause = store.wait(true, ALL, time).unwrap_or_default();
        pauses.push(pause.as_secs());
        time = time + pause;
    }
    assert!((5..=6).contains(&pauses[0]) && (10..=12).contains(&pauses[1]) && pauses[2] >= 20, "{pauses:?}");
    let Some(load) = store.next_load(time) else { panic!("there is a version") };
    store.loaded(load, Ok(module("one")), time);
    assert_eq!(store.wait(true, ALL, time), None);
    store.activate(&catalog(), &mut BTreeMap::new());
    assert_eq!(ready(&store)[0].0, "Active");
}

#[test]
fn what_cannot_be_started_is_not_waited_for() {
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    let time = now();
    let Some(load) = store.next_load(time) else { panic!("there is a version") };
    let failure = LoadFailure { reason: "MemoryLimit", message: "too large".to_owned(), is_temporary: true };
    store.loaded(load, Err(failure), time);
    let later = time + Duration::from_secs(60);
    let wait = |store: &ModuleStore, fetch, load| store.wait(true, Capacity { fetch, load }, later);
    assert_eq!(wait(&store, true, false), None, "another version is being loaded");
    assert_eq!(wait(&store, false, true), Some(Duration::ZERO), "a ConfigMap is not fetched");

    let mut store = ModuleStore::new(100);
    store.set(remote("remote"));
    assert_eq!(wait(&store, true, false), Some(Duration::ZERO));
    assert_eq!(wait(&store, false, true), None, "enough versions are being fetched");
}

#[test]
fn a_status_that_was_written_is_known_before_the_watch_reports_it() {
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    load(&mut store, Ok(()));
    store.activate(&catalog(), &mut BTreeMap::new());
    let (object, status) = store.statuses(None, now()).remove(0);
    let mut other = object.clone();
    other.metadata.uid = Some("other".to_owned());
    store.set_status(&other, status.clone());
    assert_eq!(store.statuses(None, now()).len(), 1, "the status of a deleted module of this name");
    store.set_status(&object, status);
    assert!(store.statuses(None, now()).is_empty());
}

#[test]
fn one_bad_module_affects_no_other() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    for name in ["a", "b", "c"] {
        store.set(object(name, name));
        store.set_config_map(name, map(name));
    }
    load(&mut store, Ok(()));
    load(&mut store, Err("it is broken"));
    load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    assert_eq!(active.keys().collect::<Vec<_>>(), ["a", "c"]);
    let reasons: Vec<String> = ready(&store).into_iter().map(|(reason, ..)| reason).collect();
    assert_eq!(reasons, ["Active", "LoadFailed", "Active"]);
}

#[test]
fn a_result_of_an_outdated_version_is_ignored() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    let Some(outdated) = store.next_load(now()) else { panic!("there is a version") };
    store.set_config_map("checks", map("two"));
    store.loaded(outdated, Ok(module("one")), Now::read());
    assert!(store.activate(&base, &mut active).is_none());
    let two = load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    assert_eq!(active["labels"], two);
}

#[test]
fn a_recreated_module_has_nothing_of_the_deleted_one() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    let with_uid = |uid: &str| {
        let mut module = object("labels", "checks");
        module.metadata.uid = Some(uid.to_owned());
        module
    };
    store.set(with_uid("1"));
    store.set_config_map("checks", map("one"));
    let Some(outdated) = store.next_load(now()) else { panic!("there is a version") };
    store.set(with_uid("2"));
    store.loaded(outdated, Ok(module("one")), Now::read());
    assert!(store.activate(&base, &mut active).is_none(), "the result is that of the deleted object");
    load(&mut store, Ok(()));
    assert!(store.activate(&base, &mut active).is_some());
    store.set(with_uid("3"));
    assert!(store.activate(&base, &mut active).is_some() && active.is_empty());
}

#[test]
fn a_status_is_written_once() {
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", None);
    let (mut written, status) = store.statuses(None, now()).remove(0);
    written.status = Some(status);
    store.set(written);
    assert!(store.statuses(None, Now { utc: DateTime::UNIX_EPOCH + chrono::TimeDelta::days(1), ..now() }).is_empty());
}

#[test]
fn a_module_whose_spec_cannot_be_read_is_not_used_and_says_so_once() {
    let (base, mut active) = (catalog(), BTreeMap::new());
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", map("one"));
    load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    let mut unreadable = PolicyModule::new("labels", PolicyModuleSpec::default());
    unreadable.status = store.statuses(None, now()).pop().map(|(_, status)| status);
    store.set_unreadable(unreadable.clone(), "unknown variant");
    assert!(store.activate(&base, &mut active).is_some() && active.is_empty());
    assert!(store.is_settled() && store.ready() == BTreeMap::from([("labels".to_owned(), false)]));
    assert_eq!(ready(&store), [("Unreadable".to_owned(), "unknown variant".to_owned(), None)]);
    let (_, status) = store.statuses(None, now()).remove(0);
    assert!(status.conditions.iter().all(|condition| condition.status == "False"));
    unreadable.status = Some(status);
    store.set_unreadable(unreadable, "unknown variant");
    assert!(store.statuses(None, now()).is_empty(), "the status is written once");

    store.set(object("labels", "checks"));
    load(&mut store, Ok(()));
    store.activate(&base, &mut active);
    assert!(is_ready(&store));
}

fn remote(name: &str) -> PolicyModule {
    let oci = OciSource { reference: format!("registry.example.com/{name}:1"), ..OciSource::default() };
    let source = ModuleSource { config_map: None, oci: Some(oci) };
    PolicyModule::new(name, PolicyModuleSpec { source, ..PolicyModuleSpec::default() })
}

/// Adds a module with a source in a registry, which fails.
fn failed(store: &mut ModuleStore, name: &str, time: Now) {
    store.set(remote(name));
    let Some(fetch) = store.next_fetch(true, time) else { panic!("there is a version") };
    store.fetched(&fetch, Err(Failure::of_source("RegistryUnreachable", "no answer")), time);
}

#[test]
fn a_module_that_was_not_tried_is_fetched_before_those_that_failed() {
    let (mut store, time) = (ModuleStore::new(100), now());
    failed(&mut store, "a", time);
    store.set(remote("b"));
    let later = time + Duration::from_secs(600);
    let next = |store: &mut ModuleStore| store.next_fetch(true, later).map(|fetch| fetch.module);
    assert_eq!([next(&mut store), next(&mut store), next(&mut store)], [Some("b".into()), Some("a".into()), None]);
}

#[test]
fn a_module_that_waits_long_says_so() {
    let (mut store, time) = (ModuleStore::new(100), now());
    let later = time + Duration::from_secs(5);
    let reasons = |store: &ModuleStore, now| {
        let conditions = store.statuses(None, now).into_iter().flat_map(|(_, status)| status.conditions);
        conditions.map(|condition| condition.reason).collect::<Vec<_>>()
    };
    store.set(remote("labels"));
    store.note_waiting(true, FULL, time);
    assert!(store.statuses(None, time).is_empty(), "most modules are fetched sooner");
    assert_eq!(store.wait(true, FULL, time), Some(Duration::from_secs(5)));
    store.note_waiting(true, FULL, later);
    assert_eq!(reasons(&store, later), ["Busy"; 3]);
    assert_eq!(store.wait(true, FULL, later), None);
    let (object, busy) = store.statuses(None, later).remove(0);
    store.set_status(&object, busy);

    let Some(fetch) = store.next_fetch(true, later) else { panic!("there is a version") };
    store.note_waiting(true, ALL, later);
    assert_eq!(reasons(&store, later), ["Pending"; 3], "its registry does not answer");
    store.fetched(&fetch, Err(Failure::of_source("RegistryUnreachable", "no answer")), later);
    store.note_waiting(true, ALL, later);
    assert_eq!(reasons(&store, later), ["RegistryUnreachable"; 3]);
}

#[test]
fn a_status_that_describes_the_spec_is_kept_after_a_restart() {
    let (mut store, time) = (ModuleStore::new(100), now());
    failed(&mut store, "labels", time);
    let (described, status) = store.statuses(None, time).remove(0);
    let mut store = ModuleStore::new(100);
    store.set(PolicyModule { status: Some(status), ..described });
    let later = time + Duration::from_secs(60);
    store.note_waiting(true, FULL, time);
    store.note_waiting(true, FULL, later);
    assert!(store.statuses(None, later).is_empty());
}
