//! The exports of a component, for one check or several.
//!
//! Both exports, `check` and `packed`, evaluate the same rules: typed records are written to the packed layout first.

use std::cell::RefCell;
use std::marker::PhantomData;

use kube_devops_facts::{Batch, LAYOUT, Writer};

use crate::bindings::check::exports::devops::policy::{check, packed};
#[cfg(target_family = "wasm")]
use crate::log;
use crate::{Check, Edit, Finding, Findings, Subject, typed};

pub use crate::bindings::check::exports::devops::policy::check as exported;

/// Exports checks from the component that is being built. A component can contain many checks, which share its size and are
/// evaluated together.
///
/// ```ignore
/// kube_devops_sdk::export_checks!(LatestTag, MissingLiveness);
/// ```
#[macro_export]
macro_rules! export_checks {
    ($($check:ident),+ $(,)?) => {
        #[cfg(target_family = "wasm")]
        mod exported_checks {
            pub struct Checks;

            impl $crate::Pack for Checks {
                fn describe() -> Vec<$crate::exported::Info> {
                    vec![$($crate::info::<super::$check>()),+]
                }

                fn create(check: &str, settings: &str) -> Result<Box<dyn $crate::Evaluate>, String> {
                    $(
                        if check == <super::$check as $crate::Check>::info().id {
                            return $crate::create::<super::$check>(settings);
                        }
                    )+
                    Err(format!("there is no check {check}"))
                }
            }

            type Exported = $crate::Adapter<Checks>;
            $crate::bindings::check::export_packed_check_component!(Exported with_types_in $crate::bindings::check);
        }
    };
}

/// The checks of a component.
pub trait Pack: 'static {
    /// Returns their metadata.
    fn describe() -> Vec<check::Info>;

    /// Creates a rule.
    fn create(check: &str, settings: &str) -> Result<Box<dyn Evaluate>, String>;
}

/// A check with settings, of any type.
pub trait Evaluate {
    /// See [`Check::evaluate`].
    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings);

    /// See [`Check::remediate`].
    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit>;
}

impl<C: Check> Evaluate for C {
    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        Check::evaluate(self, subject, findings);
    }

    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        Check::remediate(self, subject)
    }
}

/// Returns the metadata of a check.
pub fn info<C: Check>() -> check::Info {
    let info = C::info();
    check::Info {
        id: info.id.to_owned(),
        title: info.title.to_owned(),
        description: info.description.to_owned(),
        rationale: info.rationale.to_owned(),
        remedy: info.remedy.to_owned(),
        stage: info.stage,
        severity: info.severity,
        weight: info.weight,
        settings_schema: serde_json::to_string(&schemars::schema_for!(C::Settings)).unwrap_or_default(),
        default_settings: serde_json::to_string(&C::Settings::default()).unwrap_or_default(),
        needs_annotations: info.needs_annotations,
        remediates: info.remediates,
        url: info.url.map(str::to_owned),
    }
}

/// Creates a rule.
pub fn create<C: Check>(settings: &str) -> Result<Box<dyn Evaluate>, String> {
    let settings = if settings.trim().is_empty() { "{}" } else { settings };
    let settings = serde_json::from_str(settings).map_err(|error| format!("invalid settings: {error}"))?;
    Ok(Box::new(C::new(settings)?))
}

/// Logs the message and the place of a panic: the host sees only that the component crashed, and adds the last error in its log.
fn log_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log::log(log::Level::Error, &format!("panic at {place}: {}", panic.payload_as_str().unwrap_or_default()));
    }));
}

/// Implements the exports of the contract for the checks of a component.
pub struct Adapter<P>(PhantomData<P>);

/// Implements the resource `rule` of the contract.
pub struct Rule<P>(Box<dyn Evaluate>, PhantomData<P>);

impl<P: Pack> check::Guest for Adapter<P> {
    type Rule = Rule<P>;

    fn describe() -> Vec<check::Info> {
        log_panics();
        P::describe()
    }

    fn evaluate(rules: Vec<check::RuleBorrow<'_>>, subjects: Vec<typed::Subject>) -> Vec<Finding> {
        let rules: Vec<&dyn Evaluate> = rules.iter().map(|rule| &*rule.get::<Rule<P>>().0).collect();
        typed::evaluate(&rules, &subjects)
    }
}

impl<P: Pack> check::GuestRule for Rule<P> {
    fn create(check: String, settings: String) -> Result<check::Rule, String> {
        log_panics();
        Ok(check::Rule::new(Self(P::create(&check, &settings)?, PhantomData)))
    }

    fn remediate(&self, subject: typed::Subject) -> Vec<Edit> {
        typed::remediate(&*self.0, &subject)
    }
}

thread_local! {
    /// The rules of the export `packed`, by number.
    static RULES: RefCell<Vec<Box<dyn Evaluate>>> = const { RefCell::new(Vec::new()) };
}

impl<P: Pack> packed::Guest for Adapter<P> {
    fn layout() -> u32 {
        LAYOUT
    }

    fn create(check: String, settings: String) -> Result<u32, String> {
        log_panics();
        let rule = P::create(&check, &settings)?;
        RULES.with_borrow_mut(|rules| {
            rules.push(rule);
            Ok(rules.len() as u32 - 1)
        })
    }

    fn evaluate(words: Vec<u32>, text: String) -> Vec<Finding> {
        let batch = Batch::new(&words, &text);
        RULES.with_borrow(|rules| evaluate(batch.rules.iter().map(|&rule| &*rules[rule as usize]), &batch))
    }
}

/// Evaluates a batch with rules.
pub(crate) fn evaluate<'r>(rules: impl Iterator<Item = &'r dyn Evaluate> + Clone, batch: &Batch<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    for (index, subject) in batch.subjects().enumerate() {
        for (rule, evaluated) in rules.clone().enumerate() {
            findings.begin(rule as u32, index as u32);
            evaluated.evaluate(&subject, &mut findings);
        }
    }
    findings.into_list()
}

/// Reads the only subject of a writer.
pub(crate) fn with_subject<T>(writer: &Writer, read: impl FnOnce(&Subject<'_>) -> T) -> Option<T> {
    let mut words = Vec::new();
    writer.words_for_all(std::iter::empty(), &mut words);
    Batch::new(&words, writer.text()).subjects().next().map(|subject| read(&subject))
}
