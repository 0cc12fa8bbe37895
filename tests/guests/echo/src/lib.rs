//! A check that reports all facts about its subjects, for tests of the engine.
#![forbid(unsafe_code)]

mod echo;

pub use echo::{Echo, lines};

kube_devops_sdk::export_checks!(Echo);
