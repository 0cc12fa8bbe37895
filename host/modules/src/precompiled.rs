//! Loading native code that was compiled before: the one place of the program with unsafe code.
#![allow(unsafe_code)]

use kube_devops_engine::{Component, Engine};

/// A module as this crate's build made it. There is no other way to get one, which is what makes loading it sound.
pub struct Embedded {
    /// The folder that it was built from.
    pub name: &'static str,
    /// The digest of the component, not of the native code: the same on every machine.
    pub digest: &'static str,
    native: &'static [u8],
}

impl Embedded {
    /// The component, without compiling it.
    pub fn load(&self, engine: &Engine) -> Result<Component, String> {
        // SAFETY: wasmtime asks that the bytes come from its own compiler and that nobody has tampered with them. `native`
        // is private, and the only values of this type are the statics below, whose bytes the build script got from
        // `precompile_component` of the same wasmtime, by this workspace's one lockfile, and put into the program's
        // read-only data. That they fit this engine's configuration and this processor, wasmtime checks itself.
        unsafe { Component::deserialize(engine.wasmtime(), self.native) }.map_err(|error| format!("{error:#}"))
    }
}

/// The embedded checks.
pub fn checks() -> &'static [Embedded] {
    CHECKS
}

/// The embedded bundles.
pub fn bundles() -> &'static [Embedded] {
    BUNDLES
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
