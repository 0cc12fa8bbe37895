//! Modules while one of them is being loaded.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

#[test]
fn a_module_that_waits_is_kept_as_it_is_stored() -> std::io::Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&[0; 100])?;
    let data = [("a.wasm.gz".to_owned(), ByteString(encoder.finish()?))].into();
    let mut store = ModuleStore::new(100);
    store.set(object("labels", "checks"));
    store.set_config_map("checks", Some(ConfigMap { binary_data: Some(data), ..ConfigMap::default() }));
    let mut time = now();
    for _ in 0..2 {
        assert!(matches!(store.modules["labels"].next, Some(Next::InConfigMap)));
        let Some(load) = store.next_load(time) else { panic!("there is a version") };
        assert_eq!(load.content.bytes, [0; 100]);
        let failure = LoadFailure { reason: "MemoryLimit", message: "too large".to_owned(), is_temporary: true };
        store.loaded(load, Err(failure), time);
        time = time + Duration::from_secs(600);
    }
    Ok(())
}

#[test]
fn other_modules_have_a_status_while_one_is_being_loaded() {
    let mut store = ModuleStore::new(100);
    for name in ["a", "b", "c", "d"] {
        store.set(object(name, name));
        store.set_config_map(name, map(name));
    }
    load(&mut store, Ok(()));
    load(&mut store, Err("it is broken"));
    store.activate(&catalog(), &mut BTreeMap::new());
    let Some(loading) = store.next_load(now()) else { panic!("there is nothing to load") };
    let names = |store: &ModuleStore| -> Vec<String> {
        store.statuses(Some(&loading.target()), now()).iter().map(|(object, _)| object.name_any()).collect()
    };
    assert_eq!(names(&store), ["a", "b"], "c is being loaded, and d follows");
    store.set_config_map("c", None);
    assert_eq!(names(&store), ["a", "b", "c"], "what is being loaded is not its current version any longer");
}
