//! Reads arbitrary text as manifests: no panic, no hang, bounded memory.
//!
//! `cargo +nightly fuzz run read` in `host/manifests`.
#![no_main]

use kube_devops_manifests::{ReadOptions, Rendered, read};
use libfuzzer_sys::fuzz_target;

// A panic of the YAML parser is caught and reported as an error of the document. With the panic hook of libfuzzer, the
// process would exit before.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |text: &str| {
    let options = ReadOptions::new(chrono::DateTime::UNIX_EPOCH);
    let rendered = Rendered { name: "fuzz".into(), folder: None, text: text.to_owned() };
    let manifests = read(&[], &[rendered], &options);
    let lines = 1 + text.matches('\n').count();
    for error in &manifests.errors {
        let line = error.source.as_ref().map_or(1, |source| source.line);
        assert!((1..=lines).contains(&line), "{error:?}");
    }
});
