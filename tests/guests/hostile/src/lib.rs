//! A check that misbehaves as configured in its settings, for tests of the engine.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;

use kube_devops_sdk::log::{Level, log};
use kube_devops_sdk::{Check, Findings, Info, Severity, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the misbehaviour.
    pub behaviour: String,
}

impl Default for Settings {
    /// The default depends on object names, so that it can replace a check without settings.
    fn default() -> Self {
        Self { behaviour: "by-name".to_owned() }
    }
}

/// The check.
pub struct Hostile {
    behaviour: String,
    calls: Cell<u32>,
}

impl Check for Hostile {
    type Settings = Settings;

    fn info() -> Info {
        Info { severity: Severity::High, ..guest_support::info("hostile") }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        match settings.behaviour.as_str() {
            "create-loop" => forever(),
            "create-trap" => panic!("as configured"),
            "create-reject" => return Err("not \u{1b}[31mthese\u{1b}[0m".to_owned()),
            "create-reject-long" => return Err("x".repeat(100_000)),
            _ => {}
        }
        Ok(Self { behaviour: settings.behaviour, calls: Cell::new(0) })
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        self.calls.set(self.calls.get() + 1);
        match self.behaviour.as_str() {
            "loop" => forever(),
            "trap" => panic!("as configured"),
            "log-and-trap" => {
                log(Level::Error, "before");
                log(Level::Error, "the reason\n");
                log(Level::Info, "after");
                // Without a panic, whose message would be logged.
                std::process::abort()
            }
            "by-name" if subject.name() == "poison" => panic!("poisoned"),
            "by-name" if subject.name() == "tar-pit" => forever(),
            "trap-on-poison" if subject.name() == "poison" => panic!("poisoned"),
            "loop-on-poison" if subject.name() == "poison" => forever(),
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1u8; 1 << 20]);
                    black_box(&hoard);
                }
            }
            "recurse" => {
                black_box(deeper(1));
            }
            "flood" => (0..100_000).for_each(|_| findings.pod("again")),
            "huge-answer" => findings.pod("x".repeat(40_000_000)),
            "long-message" => findings.pod("ä".repeat(5_000)),
            "controls" => findings.pod("\u{1b}[2Jgone\n::error::forged"),
            "unknown-container" => findings.container(7, "/image", "no such container"),
            "bad-pointer" => findings.container(0, "image\n", "points nowhere"),
            "absurd-magnitude" => findings.container_times(0, u32::MAX, "costs everything"),
            "log-flood" => (0..10_000).for_each(|_| log(Level::Warn, &"line\n".repeat(1000))),
            "echo-name" => findings.pod(subject.name()),
            "count-calls" => findings.pod(self.calls.get().to_string()),
            _ => {}
        }
    }
}

fn forever() -> ! {
    loop {
        black_box(0);
    }
}

fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX { depth } else { black_box(deeper(black_box(depth + 1))) + depth }
}

kube_devops_sdk::export_checks!(Hostile);
