//! The WebAssembly engine and its clock.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use std::collections::BTreeSet;
use std::path::Path;

use wasmtime::Config;
use wasmtime::component::Component;

use crate::compiled::CompiledCache;
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
}

impl Engine {
    /// Creates an engine, with a thread that advances the epoch of running guests on every tick until the engine is
    /// dropped.
    pub fn new(limits: Limits) -> Result<Self, LoadError> {
        Self::with_cache(limits, None)
    }

    /// Creates an engine like [`Self::new`], which keeps compiled components in a folder.
    pub fn with_cache(limits: Limits, cache: Option<&PrivateFolder>) -> Result<Self, LoadError> {
        let wasmtime =
            wasmtime::Engine::new(&configuration(&limits)).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let tick = limits.tick;
        let compiled = cache.map(|folder| CompiledCache::new(folder, &wasmtime));
        let inner = Arc::new(Inner { wasmtime, limits, idle: Idle::default(), compiled });
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

    /// Returns the folder that was set with [`Self::with_cache`].
    pub fn cache_folder(&self) -> Option<&Path> {
        self.inner.compiled.as_ref().map(CompiledCache::parent)
    }

    /// Returns the compiled component from the cache, or compiles it.
    pub(crate) fn component(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let Some(cache) = &self.inner.compiled else { return self.compile(bytes) };
        if let Some(component) = cache.load(self.wasmtime(), bytes) {
            return Ok(component);
        }
        let component = self.compile(bytes)?;
        if let Err(error) = cache.store(bytes, &component) {
            tracing::warn!("failed to store compiled code, which is compiled again next time: {error}");
            return Ok(component);
        }
        // Mapped code can be dropped from memory while it is not used.
        Ok(cache.load(self.wasmtime(), bytes).unwrap_or(component))
    }

    /// Reports whether the cache has the compiled code of a component.
    pub fn has(&self, component: &[u8]) -> bool {
        self.inner.compiled.as_ref().is_some_and(|cache| cache.has(component))
    }

    /// Removes the compiled code of all components but those with the given digests.
    pub fn retain_compiled(&self, digests: &BTreeSet<String>) {
        if let Some(cache) = &self.inner.compiled
            && let Err(error) = cache.retain(digests)
        {
            tracing::warn!("failed to remove compiled code that is not used: {error}");
        }
    }

    /// Compiles the bytes of a component.
    ///
    /// A compilation cannot be interrupted: after a timeout it continues in the background, and its result is
    /// discarded.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let limits = self.limits();
        if bytes.len() > limits.module {
            return Err(LoadError::TooLarge { size: bytes.len(), limit: limits.module });
        }
        let (sender, receiver) = mpsc::channel();
        let engine = self.wasmtime().clone();
        let bytes = bytes.to_vec();
        thread::Builder::new()
            .name("compile".to_owned())
            .spawn(move || {
                // The receiver has been dropped after a timeout.
                let _ = sender.send(Component::from_binary(&engine, &bytes));
            })
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        match receiver.recv_timeout(limits.compile_time) {
            Ok(Ok(component)) => Ok(component),
            Ok(Err(error)) => Err(LoadError::Compile(format!("{error:#}"))),
            Err(RecvTimeoutError::Timeout) => Err(LoadError::CompileTime(limits.compile_time)),
            Err(RecvTimeoutError::Disconnected) => Err(LoadError::Compile("the compiler crashed".to_owned())),
        }
    }
}

fn tick_while_alive(engine: &Weak<Inner>, tick: Duration) {
    while let Some(engine) = engine.upgrade() {
        engine.wasmtime.increment_epoch();
        drop(engine);
        thread::sleep(tick);
    }
}
