//! Fifty checks in one component, each of which can misbehave, for tests of the engine.
#![forbid(unsafe_code)]

use std::hint::black_box;

use kube_devops_sdk::{Check, Findings, Info, Stage, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the misbehaviour.
    pub behaviour: String,
}

/// A check: every container whose image has no tag is a violation.
pub struct Item<const N: usize>(String);

/// The ids of the checks.
const IDS: [&str; 50] = [
    "item-0", "item-1", "item-2", "item-3", "item-4", "item-5", "item-6", "item-7", "item-8", "item-9", "item-10",
    "item-11", "item-12", "item-13", "item-14", "item-15", "item-16", "item-17", "item-18", "item-19", "item-20",
    "item-21", "item-22", "item-23", "item-24", "item-25", "item-26", "item-27", "item-28", "item-29", "item-30",
    "item-31", "item-32", "item-33", "item-34", "item-35", "item-36", "item-37", "item-38", "item-39", "item-40",
    "item-41", "item-42", "item-43", "item-44", "item-45", "item-46", "item-47", "item-48", "item-49",
];

impl<const N: usize> Check for Item<N> {
    type Settings = Settings;

    fn info() -> Info {
        Info { stage: if N % 3 == 2 { Stage::Runtime } else { Stage::Spec }, ..guest_support::info(IDS[N]) }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings.behaviour))
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        match self.0.as_str() {
            "trap" => panic!("as configured"),
            "loop" => loop {
                black_box(0);
            },
            "flood" => (0..100_000).for_each(|_| findings.pod("again")),
            "huge-answer" => findings.pod("x".repeat(40_000_000)),
            "unknown" => findings.container(99, "/image", "no such container"),
            "trap-on-poison" if subject.name() == "poison" => panic!("poisoned"),
            _ => {}
        }
        for (index, container) in subject.containers().enumerate() {
            if !container.image().contains(':') {
                findings.container(index, "/image", IDS[N]);
            }
        }
    }
}

/// Defines and exports the checks.
macro_rules! checks {
    ($($name:ident $index:literal)+) => {
        $(
            #[doc = concat!("Check ", $index, ".")]
            pub type $name = Item<$index>;
        )+
        kube_devops_sdk::export_checks!($($name),+);
    };
}

checks! {
    Item0 0 Item1 1 Item2 2 Item3 3 Item4 4 Item5 5 Item6 6 Item7 7 Item8 8 Item9 9
    Item10 10 Item11 11 Item12 12 Item13 13 Item14 14 Item15 15 Item16 16 Item17 17 Item18 18 Item19 19
    Item20 20 Item21 21 Item22 22 Item23 23 Item24 24 Item25 25 Item26 26 Item27 27 Item28 28 Item29 29
    Item30 30 Item31 31 Item32 32 Item33 33 Item34 34 Item35 35 Item36 36 Item37 37 Item38 38 Item39 39
    Item40 40 Item41 41 Item42 42 Item43 43 Item44 44 Item45 45 Item46 46 Item47 47 Item48 48 Item49 49
}
