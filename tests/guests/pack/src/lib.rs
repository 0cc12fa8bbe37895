//! Thirty checks in one component, each of which can misbehave, for tests of the engine.
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
const IDS: [&str; 30] = [
    "item-0", "item-1", "item-2", "item-3", "item-4", "item-5", "item-6", "item-7", "item-8", "item-9", "item-10",
    "item-11", "item-12", "item-13", "item-14", "item-15", "item-16", "item-17", "item-18", "item-19", "item-20",
    "item-21", "item-22", "item-23", "item-24", "item-25", "item-26", "item-27", "item-28", "item-29",
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
            "stranger" => findings.container(99, "/image", "no such container"),
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

/// Check 0.
pub type Item0 = Item<0>;
/// Check 1.
pub type Item1 = Item<1>;
/// Check 2.
pub type Item2 = Item<2>;
/// Check 3.
pub type Item3 = Item<3>;
/// Check 4.
pub type Item4 = Item<4>;
/// Check 5.
pub type Item5 = Item<5>;
/// Check 6.
pub type Item6 = Item<6>;
/// Check 7.
pub type Item7 = Item<7>;
/// Check 8.
pub type Item8 = Item<8>;
/// Check 9.
pub type Item9 = Item<9>;
/// Check 10.
pub type Item10 = Item<10>;
/// Check 11.
pub type Item11 = Item<11>;
/// Check 12.
pub type Item12 = Item<12>;
/// Check 13.
pub type Item13 = Item<13>;
/// Check 14.
pub type Item14 = Item<14>;
/// Check 15.
pub type Item15 = Item<15>;
/// Check 16.
pub type Item16 = Item<16>;
/// Check 17.
pub type Item17 = Item<17>;
/// Check 18.
pub type Item18 = Item<18>;
/// Check 19.
pub type Item19 = Item<19>;
/// Check 20.
pub type Item20 = Item<20>;
/// Check 21.
pub type Item21 = Item<21>;
/// Check 22.
pub type Item22 = Item<22>;
/// Check 23.
pub type Item23 = Item<23>;
/// Check 24.
pub type Item24 = Item<24>;
/// Check 25.
pub type Item25 = Item<25>;
/// Check 26.
pub type Item26 = Item<26>;
/// Check 27.
pub type Item27 = Item<27>;
/// Check 28.
pub type Item28 = Item<28>;
/// Check 29.
pub type Item29 = Item<29>;

kube_devops_sdk::export_checks!(
    Item0, Item1, Item2, Item3, Item4, Item5, Item6, Item7, Item8, Item9, Item10, Item11, Item12, Item13, Item14,
    Item15, Item16, Item17, Item18, Item19, Item20, Item21, Item22, Item23, Item24, Item25, Item26, Item27, Item28,
    Item29,
);
