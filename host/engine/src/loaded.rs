//! A component with checks, a bundle or both, which is loaded according to its exports.

use wasmtime::component::Component;

use crate::{Engine, LoadError, LoadedBundle, LoadedCheck};

/// The first bytes of a WebAssembly component.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// The first bytes of a core module.
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The prefixes of the interfaces that the host provides.
const PROVIDED: [&str; 3] = ["devops:policy/log@", "devops:policy/types@", "devops:policy/object@"];

/// What a component may import beyond the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants {
    /// Read access to complete objects.
    pub object: bool,
}

impl Grants {
    /// Everything.
    pub fn all() -> Self {
        Self { object: true }
    }
}

/// A loaded component.
pub struct LoadedModule {
    /// The digest of its bytes.
    pub digest: String,
    /// The size of its bytes.
    pub size: usize,
    /// The names of its imports.
    pub imports: Vec<String>,
    /// The names of its exports.
    pub exports: Vec<String>,
    /// Its checks.
    pub checks: Vec<LoadedCheck>,
    /// Its bundle.
    pub bundle: Option<LoadedBundle>,
}

impl LoadedModule {
    /// Compiles and loads a component. `digest` identifies it in errors and logs.
    ///
    /// # Errors
    ///
    /// If it is no component, does not implement the contract, or imports more than is granted.
    pub fn compile(engine: &Engine, bytes: &[u8], digest: &str, grants: Grants) -> Result<Self, LoadError> {
        check_header(bytes)?;
        let component = engine.component(bytes)?;
        let mut loaded = Self::load(engine, &component, digest, grants)?;
        loaded.size = bytes.len();
        Ok(loaded)
    }

    fn load(engine: &Engine, component: &Component, digest: &str, grants: Grants) -> Result<Self, LoadError> {
        let shape = component.component_type();
        let imports: Vec<String> = shape.imports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<String> = shape.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
        check_imports(&imports, grants)?;
        let has = |interface: &str| exports.iter().any(|name| name.starts_with(interface));
        let (has_checks, has_bundle) = (has("devops:policy/check@"), has("devops:policy/bundle@"));
        if !has_checks && !has_bundle {
            let reason = "it exports neither devops:policy/check nor devops:policy/bundle".to_owned();
            return Err(LoadError::Contract(reason));
        }
        let checks = if has_checks { LoadedCheck::load(engine, component, digest)? } else { Vec::new() };
        let bundle = if has_bundle { Some(LoadedBundle::load(engine, component, digest)?) } else { None };
        Ok(Self { digest: digest.to_owned(), size: 0, imports, exports, checks, bundle })
    }
}

fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.starts_with(&COMPONENT) {
        Ok(())
    } else if bytes.starts_with(&CORE_MODULE) {
        Err(LoadError::CoreModule)
    } else {
        Err(LoadError::NotWasm)
    }
}

/// The imports decide, because they are the only way of a component to its environment.
fn check_imports(imports: &[String], grants: Grants) -> Result<(), LoadError> {
    let unknown = imports.iter().find(|name| !PROVIDED.iter().any(|provided| name.starts_with(provided)));
    if let Some(import) = unknown {
        return Err(LoadError::UnknownImport { import: import.clone() });
    }
    if !grants.object && imports.iter().any(|name| name.starts_with("devops:policy/object@")) {
        return Err(LoadError::NotGranted { import: "object" });
    }
    Ok(())
}
