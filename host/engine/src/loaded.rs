//! A component with checks, a bundle or both, which is loaded according to its exports.

use wasmtime::component::Component;

use crate::shape::Shape;
use crate::{Engine, LoadError, LoadedBundle, LoadedCheck};

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
        Shape::read(bytes)?.check(grants)?;
        let component = engine.component(bytes)?;
        let mut loaded = Self::load(engine, &component, digest, grants)?;
        loaded.size = bytes.len();
        Ok(loaded)
    }

    fn load(engine: &Engine, component: &Component, digest: &str, grants: Grants) -> Result<Self, LoadError> {
        let compiled = component.component_type();
        let shape = Shape {
            imports: compiled.imports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect(),
            exports: compiled.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect(),
        };
        // What is linked decides, and not another reading of the same bytes.
        shape.check(grants)?;
        let has_checks = shape.exports("devops:policy/check");
        let checks = match has_checks {
            true => LoadedCheck::load_module(engine, component, digest, true)?,
            false => Vec::new(),
        };
        let has_bundle = shape.exports("devops:policy/bundle");
        let bundle = if has_bundle { Some(LoadedBundle::load(engine, component, digest)?) } else { None };
        Ok(Self { digest: digest.to_owned(), size: 0, imports: shape.imports, exports: shape.exports, checks, bundle })
    }
}
