//! A check that crashes or never ends: what it could not admission is said to be failed_open, and everything else goes on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use end_to_end::checks_of_which_one_fails;
use end_to_end::objects::{bad_pod, documents, good_pod};
use end_to_end::operator::{Setting, apply, get, policy};
use end_to_end::webhook::review_of;
use kube::runtime::watcher::Event;
use kube_devops_cluster::connection::{Connection, ConnectionOptions};
use kube_devops_cluster::election::ElectionOptions;
use kube_devops_cluster::enforce::EnforceOptions;
use kube_devops_cluster::reconcile::{self, ReconcileOptions};
use kube_devops_cluster::webhook::admission::{Admission, AdmissionOptions};
use kube_devops_cluster::webhook::review::Response;
use kube_devops_cluster::webhook::{Indexer, PolicyIndex};
use kube_devops_core::{Severity, SystemNamespaces};
use kube_devops_engine::Checks;
use prometheus::Registry;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, eventually};
use tokio_util::sync::CancellationToken;

fn temporary() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_what_it_could_not_judge_until_it_can() -> Result<()> {
    let setting = Setting::start().await?;
    let namespace = setting.plane.namespace("poisoned").await?;
    let kubeconfig = setting.plane.kubeconfig().path().to_owned();
    let connection = Connection::open(&ConnectionOptions { kubeconfig: Some(kubeconfig), context: None }).await?;
    let election = ElectionOptions {
        namespace: setting.namespace().name().to_owned(),
        name: "operator".to_owned(),
        identity: "test".to_owned(),
        duration: Duration::from_secs(15),
    };
    let enforce = EnforceOptions { patches_a_minute: 10, rollout_deadline: Duration::from_secs(600), dry_run: false };
    let options = ReconcileOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        election,
        retention: 10,
        audit_period: Duration::from_secs(1),
        enforce,
        system: SystemNamespaces::default(),
    };
    let checks = Arc::new(tokio::task::spawn_blocking(|| checks_of_which_one_fails(temporary())).await??);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let operator = tokio::spawn(async move { reconcile::run(&connection, checks, options, stopped).await });

    apply(&namespace, &documents(&["good", "poison", "other"].map(bad_pod))).await?;
    apply(&namespace, &policy("mixed", &json!({ "forbidLatestTag": true, "requireLivenessProbe": true }))).await?;
    let expect = async |what: &str, holds: fn(&Value, &Value) -> bool| {
        eventually(DEADLINE, what.to_owned(), async || {
            let status = get(&namespace, "devopspolicy", "mixed").await?["status"].take();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let evaluated = conditions.into_iter().find(|condition| condition["type"] == "Evaluated");
            ensure!(holds(&status, &evaluated.unwrap_or_default()), "{status:#}");
            Ok(())
        })
        .await
    };
    expect("a check to fail, and the other one not", |status, evaluated| {
        let message = evaluated["message"].as_str().unwrap_or_default();
        evaluated["reason"] == "ChecksFailed"
            && message.contains("check hostile (module sha256:hostile) failed: it crashed")
            && status["violationsByCheck"] == json!({ "missing-liveness": 3 })
    })
    .await?;
    namespace.kubectl(["delete", "pod", "poison"]).await?;
    expect("every pod to be judged", |status, evaluated| {
        evaluated["status"] == "True" && status["violationsByCheck"] == json!({ "missing-liveness": 2 })
    })
    .await?;
    stop.cancel();
    operator.await??;
    Ok(())
}

/// A webhook without its server, with policies in the namespace `shop`.
struct Judge {
    admission: Arc<Admission>,
    indexer: Indexer,
    registry: Registry,
}

impl Judge {
    fn new(fail_closed: bool, deadline: Duration, most_at_once: usize) -> Result<Self> {
        static CHECKS: std::sync::OnceLock<Arc<Checks>> = std::sync::OnceLock::new();
        let checks = CHECKS.get_or_init(|| Arc::new(checks_of_which_one_fails(temporary()).unwrap())).clone();
        let (index, registry) = (Arc::new(PolicyIndex::default()), Registry::new());
        let options = AdmissionOptions {
            deny: Severity::Medium,
            fail_closed,
            deadline,
            most_at_once,
            system: SystemNamespaces::default(),
            operator: None,
        };
        let admission = Arc::new(Admission::new(checks.clone(), index.clone(), options, &registry)?);
        Ok(Self { admission, indexer: Indexer::new(checks, index), registry })
    }

    /// With policies, which are then all that there are.
    fn knowing(mut self, specs: &[Value]) -> Result<Self> {
        self.indexer.apply(Event::Init);
        for (index, spec) in specs.iter().enumerate() {
            let mut object: Value = serde_json::from_str(&policy(&format!("policy-{index}"), spec))?;
            object["metadata"]["namespace"] = "shop".into();
            self.indexer.apply(Event::InitApply(serde_json::from_value(object)?));
        }
        self.indexer.apply(Event::InitDone);
        Ok(self)
    }

    fn answer(&self, object: &Value) -> Result<Response> {
        Ok(self.admission.answer(review_of(object, "shop").to_string().as_bytes(), Instant::now())?)
    }

    fn failed_open(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "webhook_fail_open_total").unwrap();
        let is_it = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == reason;
        family.get_metric().iter().find(is_it).unwrap().get_counter().get_value()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_webhook_lets_in_what_it_could_not_judge_and_says_so() -> Result<()> {
    let spec = json!({ "forbidLatestTag": true, "requireLivenessProbe": true });
    let admission = Judge::new(false, LONG, 64)?.knowing(std::slice::from_ref(&spec))?;
    let crashed = admission.answer(&good_pod("poison"))?;
    let warning = "let in without being judged: check hostile (module sha256:hostile) failed: it crashed";
    assert!(crashed.allowed && crashed.warnings[0].starts_with(warning), "{crashed:?}");
    assert_eq!(crashed.audit_annotations["not_evaluated"], "check_failed");
    assert_eq!(admission.failed_open("check_failed"), 1.0);
    // What the other check found stands.
    let denied = admission.answer(&bad_pod("poison"))?;
    assert!(!denied.allowed && denied.status.unwrap().message.contains("has no liveness probe"));
    // The check is made anew, and judges on.
    let fine = admission.answer(&good_pod("fine"))?;
    assert!(fine.allowed && fine.warnings.is_empty(), "{fine:?}");

    let closed = Judge::new(true, LONG, 64)?.knowing(&[spec])?;
    let denied = closed.answer(&good_pod("poison"))?;
    assert!(!denied.allowed && denied.status.unwrap().message.contains("could not be judged: check hostile"));
    assert!(closed.answer(&good_pod("fine"))?.allowed);
    Ok(())
}

#[test]
fn a_check_that_does_not_end_is_stopped_at_the_deadline_of_the_request() -> Result<()> {
    let spec = json!({ "forbidLatestTag": true });
    let admission = Judge::new(false, Duration::from_millis(50), 64)?.knowing(&[spec.clone(), spec])?;
    let late = admission.answer(&good_pod("tar-pit"))?;
    assert!(late.allowed, "{late:?}");
    assert_eq!(late.warnings.len(), 2, "one of each policy: {late:?}");
    assert!(late.warnings[1].contains("run out"), "the second policy is not waited for: {late:?}");
    assert_eq!(admission.failed_open("timeout"), 1.0);
    Ok(())
}

#[test]
fn more_requests_than_can_be_judged_at_a_time_are_let_in_and_counted() -> Result<()> {
    let admission = Judge::new(false, LONG, 1)?.knowing(&[json!({ "forbidLatestTag": true })])?;
    let started = Instant::now();
    let goes_on = || admission.failed_open("overload") == 0.0 && started.elapsed() < DEADLINE;
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            // Each takes as long as a check may.
            while goes_on() {
                admission.answer(&good_pod("tar-pit")).unwrap();
            }
        });
        while goes_on() {
            let answer = admission.answer(&good_pod("fine"))?;
            assert!(answer.allowed, "{answer:?}");
        }
        busy.join().unwrap();
        anyhow::Ok(())
    })?;
    assert!(admission.failed_open("overload") > 0.0);
    assert!(admission.answer(&good_pod("fine"))?.warnings.is_empty(), "it judges again");
    Ok(())
}

#[test]
fn what_is_not_known_yet_or_not_valid_is_let_in_and_counted() -> Result<()> {
    let admission = Judge::new(false, LONG, 64)?;
    let early = admission.answer(&bad_pod("early"))?;
    assert!(early.allowed && early.warnings == ["let in without being judged: the policies are not known yet"]);
    assert_eq!(admission.failed_open("not_synced"), 1.0);

    // The stand-in for high-restarts refuses the settings.
    let specs = [json!({ "maxRestartCount": 3 }), json!({ "requireLivenessProbe": true })];
    let admission = admission.knowing(&specs)?;
    let denied = admission.answer(&bad_pod("bad"))?;
    assert!(!denied.allowed, "the valid policy applies: {denied:?}");
    let warned = admission.answer(&good_pod("good"))?;
    assert!(warned.allowed && warned.warnings[0].contains("policy policy-0 is not valid"), "{warned:?}");
    assert_eq!(admission.failed_open("invalid_policy"), 2.0);

    // Such a policy is refused in the first place, with what the check says.
    let mut object: Value = serde_json::from_str(&policy("refused", &specs[0]))?;
    object["metadata"]["namespace"] = "shop".into();
    let mut review = review_of(&object, "shop");
    review["request"]["resource"]["resource"] = "devopspolicies".into();
    let answer = admission.admission.answer(review.to_string().as_bytes(), Instant::now())?;
    let refusal = answer.status.unwrap();
    assert!(!answer.allowed && refusal.code == 422, "{refusal:?}");
    assert!(refusal.message.contains("does not accept the settings {\"threshold\":3}"), "{}", refusal.message);
    // What the operator writes into an old policy is not held up by it.
    review["request"]["operation"] = "UPDATE".into();
    review["request"]["oldObject"] = review["request"]["object"].clone();
    assert!(admission.admission.answer(review.to_string().as_bytes(), Instant::now())?.allowed);
    Ok(())
}
