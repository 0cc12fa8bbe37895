//! A check that crashes or never returns: objects it did not evaluate are reported, and all other evaluations continue.
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
use kube_devops_controllers::reconcile::{self, AuditOptions, ReconcileOptions};
use kube_devops_core::{Severity, SystemNamespaces};
use kube_devops_engine::Checks;
use kube_devops_remediation::EnforceOptions;
use kube_devops_runtime::election::ElectionOptions;
use kube_devops_webhook::admission::{Admission, AdmissionOptions};
use kube_devops_webhook::review::Response;
use kube_devops_webhook::{Indexer, PolicyIndex};
use prometheus::Registry;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, eventually};
use tokio_util::sync::CancellationToken;

fn temporary() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reports_a_failed_check_until_it_succeeds() -> Result<()> {
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
        audit: AuditOptions { retention: 10, period: Duration::from_secs(1) },
        enforce,
        system: SystemNamespaces::default(),
    };
    let catalog = tokio::task::spawn_blocking(|| checks_of_which_one_fails(temporary())).await??;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let operator = tokio::spawn(async move { reconcile::run(&connection, catalog, options, stopped).await });

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
    expect("one check to fail and the other to succeed", |status, evaluated| {
        let message = evaluated["message"].as_str().unwrap_or_default();
        evaluated["reason"] == "ChecksFailed"
            && message.contains("check hostile (module sha256:hostile) failed: it crashed")
            && status["violationsByCheck"] == json!({ "missing-liveness": 3 })
    })
    .await?;
    namespace.kubectl(["delete", "pod", "poison"]).await?;
    expect("the evaluation of every pod", |status, evaluated| {
        evaluated["status"] == "True" && status["violationsByCheck"] == json!({ "missing-liveness": 2 })
    })
    .await?;
    stop.cancel();
    operator.await??;
    Ok(())
}

/// The admission logic of the webhook without its server, with policies in the namespace `shop`.
struct LocalWebhook {
    runtime: tokio::runtime::Runtime,
    admission: Arc<Admission>,
    indexer: Indexer,
    registry: Registry,
}

impl LocalWebhook {
    fn new(fail_closed: bool, deadline: Duration, most_at_once: usize) -> Result<Self> {
        static CHECKS: std::sync::OnceLock<Arc<Checks>> = std::sync::OnceLock::new();
        let checks = CHECKS.get_or_init(|| Arc::new(checks_of_which_one_fails(temporary()).unwrap().checks())).clone();
        let (index, registry) = (Arc::new(PolicyIndex::default()), Registry::new());
        let options = AdmissionOptions {
            deny: Some(Severity::Medium),
            fail_closed,
            deadline,
            most_at_once,
            system: SystemNamespaces::default(),
            operator: None,
            deny_controller_pods: false,
        };
        let admission = Arc::new(Admission::new(checks.clone(), index.clone(), options, &registry)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
        Ok(Self { runtime, admission, indexer: Indexer::new(checks, index), registry })
    }

    /// Sets the policies.
    fn with_policies(mut self, specs: &[Value]) -> Result<Self> {
        self.indexer.apply(Event::Init);
        for (index, spec) in specs.iter().enumerate() {
            // As an API server sends it: with settings of any depth.
            let object = policy(&format!("policy-{index}"), spec);
            let object = object.replacen(r#""metadata":{"#, r#""metadata":{"namespace":"shop","#, 1);
            self.indexer.apply(Event::InitApply(serde_json::from_str(&object)?));
        }
        self.indexer.apply(Event::InitDone);
        // Checks of a module that has ever hung are called later.
        while self.indexer.is_due(tokio::time::Instant::now()) {
            self.indexer.proceed(tokio::time::Instant::now());
        }
        Ok(self)
    }

    fn answer(&self, object: &Value) -> Result<Response> {
        self.review(&review_of(object, "shop"))
    }

    fn review(&self, review: &Value) -> Result<Response> {
        let body = review.to_string();
        Ok(self.runtime.block_on(self.admission.answer(body.as_bytes(), Instant::now()))?)
    }

    fn failed_open(&self, reason: &str) -> f64 {
        self.counted("webhook_fail_open_total", reason)
    }

    fn counted(&self, metric: &str, reason: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == metric).unwrap();
        let has_reason = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == reason;
        family.get_metric().iter().find(has_reason).unwrap().get_counter().get_value()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_webhook_fails_open_with_a_warning_if_a_check_crashes() -> Result<()> {
    let spec = json!({ "forbidLatestTag": true, "requireLivenessProbe": true });
    let webhook = LocalWebhook::new(false, LONG, 64)?.with_policies(std::slice::from_ref(&spec))?;
    let crashed = webhook.answer(&good_pod("poison"))?;
    let warning = "admitted without evaluation: check hostile (module sha256:hostile) failed: it crashed";
    assert!(crashed.allowed && crashed.warnings[0].starts_with(warning), "{crashed:?}");
    assert_eq!(crashed.audit_annotations["not_evaluated"], "check_failed");
    assert_eq!(webhook.failed_open("check_failed"), 1.0);
    // The violations of the other check still apply.
    let denied = webhook.answer(&bad_pod("poison"))?;
    assert!(!denied.allowed && denied.status.unwrap().message.contains("has no liveness probe"));
    // The check is instantiated again and evaluates further requests.
    let fine = webhook.answer(&good_pod("fine"))?;
    assert!(fine.allowed && fine.warnings.is_empty(), "{fine:?}");

    let closed = LocalWebhook::new(true, LONG, 64)?.with_policies(&[spec])?;
    let denied = closed.answer(&good_pod("poison"))?;
    assert!(!denied.allowed && denied.status.unwrap().message.contains("could not be evaluated: check hostile"));
    assert!(closed.answer(&good_pod("fine"))?.allowed);
    Ok(())
}

#[test]
fn the_other_checks_of_a_policy_apply_if_one_fails_to_process_its_settings() -> Result<()> {
    let hostile = |behaviour: &str| json!([{ "check": "latest-tag", "settings": { "behaviour": behaviour } }]);
    let of_check = |behaviour: &str| json!({ "requireLivenessProbe": true, "checks": hostile(behaviour) });
    let nested = (0..200).fold(json!({}), |settings, _| json!({ "a": settings }));
    let mut deep = of_check("deep");
    deep["checks"][0]["settings"] = nested;
    for (spec, reason, text) in [
        (of_check("create-trap"), "check_failed", "policy policy-0: check hostile"),
        (of_check("create-loop"), "timeout", "policy policy-0: check hostile"),
        (of_check("create-reject"), "invalid_policy", "policy policy-0 is invalid: check hostile"),
        (
            deep,
            "invalid_policy",
            "policy policy-0 is invalid: the settings of check hostile are nested more than 100 levels",
        ),
        (json!({ "requireLivenessProbe": true, "bundle": "gone" }), "invalid_policy", "there is no bundle gone"),
    ] {
        let webhook = LocalWebhook::new(false, LONG, 64)?.with_policies(std::slice::from_ref(&spec))?;
        let denied = webhook.answer(&bad_pod("bad"))?;
        let message = denied.status.unwrap_or_else(|| panic!("{spec}")).message;
        assert!(!denied.allowed && message.contains("has no liveness probe"), "{spec}: {message}");
        let warned = webhook.answer(&good_pod("good"))?;
        assert!(warned.allowed && warned.warnings[0].contains(text), "{spec}: {warned:?}");
        assert_eq!(webhook.failed_open(reason), 1.0, "{spec}");
        let closed = LocalWebhook::new(true, LONG, 64)?.with_policies(&[spec])?;
        assert!(!closed.answer(&good_pod("good"))?.allowed);
    }
    Ok(())
}

#[test]
fn a_check_that_never_returns_is_interrupted_at_the_request_deadline() -> Result<()> {
    let spec = json!({ "forbidLatestTag": true });
    let webhook = LocalWebhook::new(false, Duration::from_millis(50), 64)?.with_policies(&[spec.clone(), spec])?;
    let late = webhook.answer(&good_pod("tar-pit"))?;
    assert!(late.allowed, "{late:?}");
    assert_eq!(late.warnings.len(), 2, "one per policy: {late:?}");
    assert!(late.warnings[1].contains("passed before the call"), "the second policy is not evaluated: {late:?}");
    assert_eq!(webhook.failed_open("timeout"), 1.0);
    Ok(())
}

#[test]
fn requests_over_the_concurrency_limit_fail_open_and_are_counted() -> Result<()> {
    let webhook = LocalWebhook::new(false, LONG, 1)?.with_policies(&[json!({ "forbidLatestTag": true })])?;
    let started = Instant::now();
    let continues = || webhook.failed_open("overload") == 0.0 && started.elapsed() < DEADLINE;
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            // Each runs until the check is interrupted.
            while continues() {
                webhook.answer(&good_pod("tar-pit")).unwrap();
            }
        });
        while continues() {
            let answer = webhook.answer(&good_pod("fine"))?;
            assert!(answer.allowed, "{answer:?}");
        }
        busy.join().unwrap();
        anyhow::Ok(())
    })?;
    assert!(webhook.failed_open("overload") > 0.0);
    assert!(webhook.answer(&good_pod("fine"))?.warnings.is_empty(), "it evaluates again");
    Ok(())
}

#[test]
fn unsynced_and_invalid_policies_fail_open_and_are_counted() -> Result<()> {
    let webhook = LocalWebhook::new(false, LONG, 64)?;
    let early = webhook.answer(&bad_pod("early"))?;
    assert!(early.allowed && early.warnings == ["admitted without evaluation: the policies have not been listed yet"]);
    assert_eq!(webhook.failed_open("not_synced"), 1.0);

    // The replacement of high-restarts rejects the settings.
    let specs = [json!({ "maxRestartCount": 3 }), json!({ "requireLivenessProbe": true })];
    let webhook = webhook.with_policies(&specs)?;
    let denied = webhook.answer(&bad_pod("bad"))?;
    assert!(!denied.allowed, "the valid policy applies: {denied:?}");
    let warned = webhook.answer(&good_pod("good"))?;
    assert!(warned.allowed && warned.warnings[0].contains("policy policy-0 is invalid"), "{warned:?}");
    assert_eq!(webhook.failed_open("invalid_policy"), 1.0, "one request was admitted");
    assert_eq!(webhook.counted("webhook_evaluation_failures_total", "invalid_policy"), 2.0);

    // The webhook rejects such a policy with the message of the check.
    let mut object: Value = serde_json::from_str(&policy("rejected", &specs[0]))?;
    object["metadata"]["namespace"] = "shop".into();
    let mut review = review_of(&object, "shop");
    review["request"]["resource"]["resource"] = "devopspolicies".into();
    let answer = webhook.review(&review)?;
    let status = answer.status.unwrap();
    assert!(!answer.allowed && status.code == 422, "{status:?}");
    assert!(status.message.contains("rejects the settings {\"threshold\":3}"), "{}", status.message);
    // Updates of an existing invalid policy, such as those of the operator, are admitted.
    review["request"]["operation"] = "UPDATE".into();
    review["request"]["oldObject"] = review["request"]["object"].clone();
    assert!(webhook.review(&review)?.allowed);
    Ok(())
}
