//! The WebAssembly engine and its clock.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use wasmtime::Config;
use wasmtime::component::Component;

use crate::compiled::CompiledCache;
use crate::compiler::{Compiler, Failure};
use crate::idle::Idle;
use crate::{Limits, LoadError, PrivateFolder};

/// Returns the configuration for compiling and running modules.
///
/// The build of the program compiles the embedded modules with it, so that they can be loaded without compilation.
pub fn configuration(limits: &Limits) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.stack);
    // Without these two settings, the results of a component could depend on the processor.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Guests are stripped, so that their backtraces contain no information.
    config.wasm_backtrace_max_frames(None);
    config
}

/// Compiles and runs modules, all with the same limits.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    limits: Limits,
    idle: Idle,
    compiled: Option<CompiledCache>,
    compiler: Compiler,
}

impl Engine {
    /// Creates an engine that compiles components in this process, and keeps none: for components that are trusted.
    ///
    /// A thread advances the epoch of running guests on every tick until the engine is dropped.
    pub fn new(limits: Limits) -> Result<Self, LoadError> {
        Self::with(limits, None, Compiler::Here)
    }

    /// Creates an engine like [`Self::new`], which compiles components with a compiler, and keeps them in a folder.
    pub fn with(limits: Limits, cache: Option<&PrivateFolder>, compiler: Compiler) -> Result<Self, LoadError> {
        let wasmtime =
            wasmtime::Engine::new(&configuration(&limits)).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let tick = limits.tick;
        let compiled = cache.map(|folder| CompiledCache::new(folder, &wasmtime));
        let inner = Arc::new(Inner { wasmtime, limits, idle: Idle::default(), compiled, compiler });
        let watched = Arc::downgrade(&inner);
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick_while_alive(&watched, tick))
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Self { inner })
    }

    /// Returns the limits of the modules.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Returns the idle instances of all rules.
    pub(crate) fn idle(&self) -> &Idle {
        &self.inner.idle
    }

    /// Returns the wasmtime engine, for loading precompiled components.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    /// Returns the folder that was set with [`Self::with`].
    pub fn cache_folder(&self) -> Option<&Path> {
        self.inner.compiled.as_ref().map(CompiledCache::parent)
    }

    /// Returns the compiled component from the cache, or compiles it.
    pub(crate) fn component(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let Some(cache) = &self.inner.compiled else { return self.compile(bytes) };
        if let Some(component) = cache.load(self.wasmtime(), bytes) {
            return Ok(component);
        }
        self.check_size(bytes)?;
        match self.compile_into(cache, bytes) {
            // Mapped code can be dropped from memory while it is not used.
            Ok(()) => cache.load(self.wasmtime(), bytes).map_or_else(|| self.compile(bytes), Ok),
            Err(Failure::Load(error)) => Err(error),
            Err(Failure::Output(reason)) => {
                tracing::warn!("failed to store compiled code, which is compiled again next time: {reason}");
                self.compile(bytes)
            }
        }
    }

    /// Compiles a component to a file of the cache.
    fn compile_into(&self, cache: &CompiledCache, bytes: &[u8]) -> Result<(), Failure> {
        let output = |error: std::io::Error| Failure::Output(error.to_string());
        let native = cache.create(bytes).map_err(output)?;
        match &self.inner.compiler {
            Compiler::Here => {
                let compiled = self.wasmtime().precompile_component(bytes).map_err(invalid)?;
                native.file().write_all(&compiled).map_err(output)?;
            }
            Compiler::Child(child) => {
                child.compile_to(bytes, self.limits(), native.file().try_clone().map_err(output)?)?;
            }
        }
        cache.finish(bytes, native).map_err(output)
    }

    /// Removes the compiled code of all components but those with the given digests.
    pub fn retain_compiled(&self, digests: &BTreeSet<String>) {
        if let Some(cache) = &self.inner.compiled
            && let Err(error) = cache.retain(digests)
        {
            tracing::warn!("failed to remove compiled code that is not used: {error}");
        }
    }

    /// Compiles the bytes of a component, without the cache.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        self.check_size(bytes)?;
        match &self.inner.compiler {
            Compiler::Here => Component::from_binary(self.wasmtime(), bytes).map_err(invalid),
            Compiler::Child(child) => child.compile(bytes, self.limits())?.load(self.wasmtime()).map_err(invalid),
        }
    }

    fn check_size(&self, bytes: &[u8]) -> Result<(), LoadError> {
        let limit = self.limits().module;
        if bytes.len() > limit { Err(LoadError::TooLarge { size: bytes.len(), limit }) } else { Ok(()) }
    }
}

fn invalid(error: wasmtime::Error) -> LoadError {
    LoadError::Compile(format!("{error:#}"))
}

fn tick_while_alive(engine: &Weak<Inner>, tick: Duration) {
    while let Some(engine) = engine.upgrade() {
        engine.wasmtime.increment_epoch();
        drop(engine);
        thread::sleep(tick);
    }
}
