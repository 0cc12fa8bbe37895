//! What is thought of an admission request.
//!
//! ```text
//!   request --is it ours, is it new?--> object --> subject --> rules of the namespace --> breaches --> verdict
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use kube::ResourceExt;
use kube_devops_core::evaluations;
use kube_devops_core::object::{Context, Extraction, Object, PodStatus};
use kube_devops_core::{Container, ContainerKind, Severity, Subject, SystemNamespaces};
use kube_devops_engine::{Checks, Objects, RuleError};
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::index::{NamespacePolicies, PolicyIndex};
use super::metrics::Metrics;
use super::review::{Request, Response, ReviewError, parse, parse_raw};
use super::verdict::{EvaluationFailure, PolicyViolation, Reason, ResponsePolicy, Verdict};
use crate::ClusterError;
use crate::crd::DevOpsPolicy;
use crate::policies;

/// Rules that once took longer than this are evaluated where they hold up nobody else.
const SLOW: Duration = Duration::from_millis(20);

/// How requests are judged.
#[derive(Debug, Clone)]
pub struct AdmissionOptions {
    /// From which severity on a violation denies.
    pub deny: Severity,
    /// Whether what could not be judged is denied.
    pub fail_closed: bool,
    /// How long judging a request may take.
    pub deadline: Duration,
    /// How many requests are judged at a time.
    pub most_at_once: usize,
    /// Where nothing is judged.
    pub system: SystemNamespaces,
    /// The user whose updates are let through: the operator, which mends workloads and takes back what does not work.
    pub operator: Option<String>,
}

/// Judges admission requests by the policies that it knows of.
pub struct Admission {
    checks: Arc<Checks>,
    index: Arc<PolicyIndex>,
    options: AdmissionOptions,
    response_policy: ResponsePolicy,
    places: Semaphore,
    metrics: Metrics,
}

impl Admission {
    /// Judges by the policies of `index`, and registers its metrics.
    pub fn new(
        checks: Arc<Checks>,
        index: Arc<PolicyIndex>,
        options: AdmissionOptions,
        registry: &Registry,
    ) -> Result<Self, ClusterError> {
        let response_policy = ResponsePolicy::new(options.deny, options.fail_closed, checks.infos());
        let metrics = Metrics::new(registry, options.fail_closed)?;
        let places = Semaphore::new(options.most_at_once.max(1));
        Ok(Self { checks, index, response_policy, places, metrics, options })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How long a request may take to arrive.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// Answers a review that arrived at a moment.
    pub fn answer(&self, body: &[u8], arrived: Instant) -> Result<Response, ReviewError> {
        let (request, objects) = match read(body) {
            Ok(read) => read,
            Err(error) => {
                self.metrics.rejected(Reason::Malformed, arrived.elapsed());
                tracing::warn!("a request was not judged: {error}");
                return Err(error);
            }
        };
        let verdict = match self.places.try_acquire() {
            Ok(_place) => self.verdict(&request, objects, body, arrived + self.options.deadline),
            Err(_) => {
                let text = format!("more than {} requests are being judged", self.options.most_at_once);
                Verdict::failed(Reason::Overload, text)
            }
        };
        let response = verdict.response(&request.uid, &self.response_policy);
        log(&request, &verdict, &response);
        self.metrics.answered(&verdict, response.allowed, arrived.elapsed());
        Ok(response)
    }

    fn verdict(&self, request: &Header<'_>, objects: Reviewed, body: &[u8], deadline: Instant) -> Verdict {
        if !matches!(&*request.operation, "CREATE" | "UPDATE") {
            return Verdict::Skipped;
        }
        if request.resource.group == "devops.stochastic.io" {
            return match (&*request.resource.resource, &*request.sub_resource) {
                ("devopspolicies", "") => self.policy(body).unwrap_or_else(|unreadable| unreadable),
                _ => Verdict::Skipped,
            };
        }
        let is_operator = || self.options.operator.as_deref() == Some(&*request.user_info.username);
        if request.namespace.is_empty()
            || !matches!(&*request.sub_resource, "" | "ephemeralcontainers")
            || self.options.system.contains(&request.namespace)
            || request.operation == "UPDATE" && is_operator()
        {
            return Verdict::Skipped;
        }
        if !self.index.is_synced() {
            return Verdict::failed(Reason::NotSynced, "the policies are not known yet");
        }
        let Some(policies) = self.index.of(&request.namespace) else { return Verdict::Skipped };
        if policies.is_slow() {
            // Other requests go on on another thread.
            return tokio::task::block_in_place(|| self.workload(request, objects, body, &policies, deadline));
        }
        let started = Instant::now();
        let verdict = self.workload(request, objects, body, &policies, deadline);
        if started.elapsed() > SLOW {
            policies.set_slow();
        }
        verdict
    }

    /// Judges something that may run pods.
    fn workload(
        &self,
        request: &Header<'_>,
        objects: Reviewed,
        body: &[u8],
        policies: &NamespacePolicies,
        deadline: Instant,
    ) -> Verdict {
        let (object, before) = match objects {
            Ok(objects) => objects,
            Err(error) => return Verdict::failed(Reason::Malformed, error),
        };
        let Some(object) = object else {
            return Verdict::failed(Reason::Malformed, "there is no object in the review");
        };
        let subject = match subject(request, object) {
            Ok(Some(subject)) => subject,
            Ok(None) => return Verdict::Skipped,
            Err(error) => return Verdict::failed(Reason::Malformed, error),
        };
        let before = before.filter(|_| request.operation == "UPDATE");
        // An old object that is nothing to judge tells nothing, so that the new one is judged as a whole.
        let before = before.and_then(|object| self::subject(request, object).ok().flatten());
        let whole = policies.needs_objects().then(|| WholeObjects::read(body)).flatten();
        if before.as_ref().is_some_and(|before| has_same_containers(before, &subject))
            && whole.as_ref().is_none_or(WholeObjects::have_same_spec)
        {
            return Verdict::Skipped;
        }
        let objects: Option<Objects> = whole.map(|whole| Arc::from([whole.now]));
        let mut violations = Vec::new();
        let mut failures = Vec::new();
        for policy in &policies.policies {
            let rules = match &policy.rules {
                Ok(rules) => rules,
                Err(error) => {
                    let text = format!("policy {} is not valid: {error}", policy.name);
                    failures.push(EvaluationFailure { reason: Reason::InvalidPolicy, text });
                    continue;
                }
            };
            let outcomes = rules.evaluate_until(&[&subject], objects.as_ref(), Some(deadline));
            for error in outcomes.iter().flat_map(|outcome| &outcome.errors) {
                let reason = if error.timed_out { Reason::Timeout } else { Reason::CheckFailed };
                failures.push(EvaluationFailure { reason, text: error.to_string() });
            }
            for violation in
                evaluations(&[&subject], &outcomes).into_iter().flat_map(|evaluation| evaluation.violations)
            {
                add(&mut violations, PolicyViolation { violation, policy: policy.name.clone() });
            }
        }
        if request.sub_resource == "ephemeralcontainers" {
            let added = added_containers(before.as_ref(), &subject);
            violations.retain(|found| found.violation.container.as_deref().is_some_and(|name| added.contains(&name)));
        }
        let name = if subject.name.is_empty() { "(without a name)" } else { &subject.name };
        let subject = format!("{} {name} in namespace {}", subject.kind, subject.namespace);
        Verdict::Evaluated { subject, violations, failures }
    }

    /// Judges a policy: whether its checks accept their settings. What the API server changes by itself is not judged.
    fn policy(&self, body: &[u8]) -> Result<Verdict, Verdict> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Verdict::failed(Reason::Malformed, format!("the policy cannot be read: {error}"))
        };
        let (_, object, before) = parse_raw(body).map_err(|error| unreadable(&error))?.split();
        let object = object.ok_or_else(|| unreadable(&"there is none"))?;
        let policy: DevOpsPolicy = serde_json::from_str(object.get()).map_err(|error| unreadable(&error))?;
        let before = before.and_then(|object| serde_json::from_str::<DevOpsPolicy>(object.get()).ok());
        if before.is_some_and(|before| before.spec == policy.spec) || policy.metadata.deletion_timestamp.is_some() {
            return Ok(Verdict::Skipped);
        }
        Ok(match self.checks.rule_set(&policies::policy(&policy.name_any(), &policy.spec)) {
            Ok(_) => Verdict::Evaluated {
                subject: format!("DevOpsPolicy {}", policy.name_any()),
                violations: Vec::new(),
                failures: Vec::new(),
            },
            Err(error @ RuleError::Call { .. }) => Verdict::failed(Reason::CheckFailed, error.to_string()),
            Err(error) => Verdict::InvalidPolicy(error.to_string()),
        })
    }
}

/// A request without its objects.
type Header<'a> = Request<'a, ()>;
/// The object as it is to be and the object as it is, or why they cannot be read.
type Reviewed = Result<(Option<Object>, Option<Object>), String>;

/// Reads a review in one go. Where its objects are not what they should be, the rest of it is read without them, so that
/// there is an answer.
fn read(body: &[u8]) -> Result<(Header<'_>, Reviewed), ReviewError> {
    match parse(body) {
        Ok(request) => {
            let (request, object, before) = request.split();
            Ok((request, Ok((object, before))))
        }
        Err(error) => {
            let (request, _, _) = parse_raw(body)?.split();
            Ok((request, Err(format!("the object cannot be read: {error}"))))
        }
    }
}

/// The subject in an object of a request; none: it runs no pods, has finished or is being deleted.
fn subject(request: &Header<'_>, mut object: Object) -> Result<Option<Subject>, String> {
    if object.kind != request.kind.kind {
        return Err(format!("the review is about a {}, and the object in it is a {}", request.kind.kind, object.kind));
    }
    // The API server knows where it is, whatever the object says.
    object.metadata.namespace = request.namespace.clone().into_owned();
    if request.operation == "CREATE" {
        // What is only about to be has neither ended nor been deleted, whatever it says of itself.
        object.status = PodStatus::default();
        object.metadata.deletion_timestamp = None;
    }
    object.forget_status();
    let context = Context { now: Utc::now(), default_namespace: String::new(), source: None };
    object.extract(&context).map(Extraction::into_subject).map_err(|error| error.to_string())
}

/// Whether two subjects ask for the same to be run, whatever they are called and labelled.
fn has_same_containers(before: &Subject, now: &Subject) -> bool {
    before.restart_policy == now.restart_policy && before.containers == now.containers
}

/// The names of the ephemeral containers that were not there before.
fn added_containers<'a>(before: Option<&Subject>, now: &'a Subject) -> Vec<&'a str> {
    let before = before.map_or(&[][..], |before| &before.containers);
    let is_added = |container: &&Container| container.kind == ContainerKind::Ephemeral && !before.contains(container);
    now.containers.iter().filter(is_added).map(|container| &*container.name).collect()
}

/// The objects of a review as a whole, for checks that read all of them.
struct WholeObjects {
    now: Value,
    before: Option<Value>,
}

impl WholeObjects {
    fn read(body: &[u8]) -> Option<Self> {
        let (_, now, before) = parse_raw(body).ok()?.split();
        let before = before.and_then(|before| serde_json::from_str(before.get()).ok());
        Some(Self { now: serde_json::from_str(now?.get()).ok()?, before })
    }

    /// Whether they differ in no more than metadata and status.
    fn have_same_spec(&self) -> bool {
        self.before.as_ref().is_some_and(|before| specified(before).eq(specified(&self.now)))
    }
}

/// What an object asks for: all of it but metadata and status, by the names of the fields.
fn specified(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
}

/// Adds a breach. Where several policies find the same, the most severe of them counts.
fn add(violations: &mut Vec<PolicyViolation>, violation: PolicyViolation) {
    let same = |known: &&mut PolicyViolation| {
        let (one, other) = (&known.violation, &violation.violation);
        (&one.check, &one.container, &one.field, &one.message)
            == (&other.check, &other.container, &other.field, &other.message)
    };
    match violations.iter_mut().find(same) {
        Some(known) if known.violation.severity < violation.violation.severity => *known = violation,
        Some(_) => {}
        None => violations.push(violation),
    }
}

fn log(request: &Header<'_>, verdict: &Verdict, response: &Response) {
    let cut = |text: &str| kube_devops_core::text::cut(&kube_devops_core::text::escape_controls(text), 256);
    let (namespace, kind, user) = (&request.namespace, &request.kind.kind, &request.user_info.username);
    if let Verdict::Evaluated { failures, .. } = verdict
        && let Some(first) = failures.first()
    {
        tracing::warn!(
            namespace = cut(namespace),
            kind = cut(kind),
            reason = first.reason.as_str(),
            "not judged: {}",
            cut(&first.text)
        );
    }
    if !response.allowed {
        let what = match verdict {
            Verdict::Evaluated { subject, .. } => Cow::Owned(cut(subject)),
            Verdict::Skipped | Verdict::InvalidPolicy(_) => Cow::Borrowed("the policy"),
        };
        let violations = response.audit_annotations.get("violations").map_or("", String::as_str);
        tracing::info!(namespace = cut(namespace), kind = cut(kind), user = cut(user), violations, "denied: {what}");
    }
}
