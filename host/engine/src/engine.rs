//! The WebAssembly engine and its clock.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use wasmtime::Config;
use wasmtime::component::Component;

use crate::{Limits, LoadError};

/// The configuration that modules are compiled and run with.
///
/// The program's build compiles the embedded modules with it, so that they can be loaded without compiling.
pub fn configuration(limits: &Limits) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.stack);
    // Without these two, the same component could give other results on another processor.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // A backtrace of a guest tells nobody anything: guests are stripped.
    config.wasm_backtrace_max_frames(None);
    config
}

/// Compiles modules and runs them, all with the same limits.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    limits: Limits,
}

impl Engine {
    /// An engine, with a thread that looks at running guests in every tick for as long as the engine lives.
    pub fn new(limits: Limits) -> Result<Self, LoadError> {
        let wasmtime =
            wasmtime::Engine::new(&configuration(&limits)).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let tick = limits.tick;
        let inner = Arc::new(Inner { wasmtime, limits });
        let watched = Arc::downgrade(&inner);
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick_while_alive(&watched, tick))
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Self { inner })
    }

    /// What modules may use.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The wasmtime engine, to load precompiled components with.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    /// Compiles the bytes of a component.
    ///
    /// A compilation cannot be interrupted: one that takes too long goes on in the background, with its result thrown
    /// away.
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
                // The receiver is gone where the time was up.
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
