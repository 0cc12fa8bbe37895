//! The webhook answers every malformed request with a well-formed review that admits the object, or with a 4xx status.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use anyhow::{Context, Result, ensure};
use end_to_end::http::post;
use end_to_end::objects::{bad_pod, cron_job, workload};
use end_to_end::operator::Setting;
use end_to_end::webhook::{Webhook, namespace_with_bundle, review_of};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use test_cluster::ControlPlane;

/// Requires a valid response to any request and reports whether it is a review.
fn is_review(sent: &[u8], (code, body): &(u16, String)) -> Result<bool> {
    let shown = || String::from_utf8_lossy(&sent[..sent.len().min(600)]).into_owned();
    if (400..500).contains(code) {
        ensure!(body.len() < 2048, "a long error about {}", shown());
        return Ok(false);
    }
    ensure!(*code == 200, "{code} {body}: {}", shown());
    let answer: Value = serde_json::from_str(body).with_context(|| format!("{body}: {}", shown()))?;
    ensure!(answer["apiVersion"] == "admission.k8s.io/v1" && answer["kind"] == "AdmissionReview", "{answer}");
    ensure!(answer["response"]["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "{answer}: {}", shown());
    ensure!(answer["response"]["allowed"].is_boolean(), "{answer}");
    Ok(true)
}

/// Returns malformed reviews. None of them may be denied.
fn malformed_reviews(namespace: &str) -> Vec<Vec<u8>> {
    let review = review_of(&bad_pod("bad"), namespace);
    let with = |pointer: &str, value: Value| {
        let mut review = review.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        review
    };
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "a": 1 }),
    ];
    let mut malformed: Vec<Vec<u8>> = Vec::new();
    for pointer in [
        "/apiVersion",
        "/kind",
        "/request",
        "/request/uid",
        "/request/kind",
        "/request/kind/kind",
        "/request/operation",
        "/request/namespace",
        "/request/object",
        "/request/object/kind",
        "/request/object/spec",
        "/request/object/spec/containers",
    ] {
        // Any non-empty text is a valid uid.
        let odd = odd.iter().filter(|value| pointer != "/request/uid" || *value != "x");
        malformed.extend(odd.map(|value| with(pointer, value.clone()).to_string().into_bytes()));
    }
    let text = review.to_string();
    // Truncated at a hundred positions.
    malformed.extend((0..text.len()).step_by(text.len() / 100 + 1).map(|end| text.as_bytes()[..end].to_vec()));
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner =
            if open == "[" { deep(open, close) } else { format!("{}1{}", open.repeat(20_000), close.repeat(20_000)) };
        malformed.push(inner.clone().into_bytes());
        let object = format!(r#"{{"kind":"Pod","spec":{{"containers":{inner}}}}}"#);
        malformed.push(text.replace(&bad_pod("bad").to_string(), &object).into_bytes());
    }
    let mut kinds = review.clone();
    kinds["request"]["object"] = workload("apps/v1", "Deployment", "other", json!({ "containers": [] }));
    malformed.push(kinds.to_string().into_bytes());
    for object in [
        json!({ "kind": "Pod" }),
        json!({ "kind": "Pod", "spec": { "containers": [] } }),
        json!({ "kind": "PodList", "items": [bad_pod("bad")] }),
        json!({ "kind": "Pod", "metadata": { "labels": { "a": 1 } }, "spec": { "containers": [{ "image": 5 }] } }),
        cron_job("nightly", json!({ "containers": 7 })),
    ] {
        malformed.push(with("/request/object", object).to_string().into_bytes());
    }
    malformed.push(text.replace("\"bad\"", "\"\\ud800\"").into_bytes());
    malformed.push([text.as_bytes(), b"\xff\xfe"].concat());
    malformed.push(vec![0; 4096]);
    malformed.push(b"\xef\xbb\xbf{}".to_vec());
    malformed.push(with("/apiVersion", json!("admission.k8s.io/v1beta1")).to_string().into_bytes());
    malformed.push(with("/request/operation", json!("DELETE")).to_string().into_bytes());
    malformed.push(with("/request/operation", json!("CONNECT")).to_string().into_bytes());
    malformed.push(with("/request/namespace", json!("no-such-namespace")).to_string().into_bytes());
    malformed
}

#[tokio::test]
async fn malformed_requests_are_answered_and_never_denied() -> Result<()> {
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let webhook = Webhook::start(&setting, &["--max-body", "256", "--deadline", "1000"]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let http = webhook.process.http();
    let valid = review_of(&bad_pod("bad"), namespace.name()).to_string().into_bytes();
    let denied = http.post("/validate", &valid)?;
    assert!(is_review(&valid, &denied)? && denied.1.contains("\"allowed\":false"), "{denied:?}");
    let denials = webhook.process.metric("webhook_denials_total")?;

    let malformed = malformed_reviews(namespace.name());
    assert!(malformed.len() >= 200, "{}", malformed.len());
    for body in &malformed {
        let answer = http.post("/validate", body)?;
        let is_denied = is_review(body, &answer)? && answer.1.contains("\"allowed\":false");
        assert!(!is_denied, "{}: {answer:?}", String::from_utf8_lossy(&body[..body.len().min(2000)]));
    }
    assert_eq!(webhook.process.metric("webhook_denials_total")?, denials);
    let failed_open = webhook.process.metric("webhook_fail_open_total{reason=\"malformed\"}")?.unwrap();
    assert!(failed_open >= 200.0, "{failed_open}");

    // Too large: by the declared length, and by the length of a chunked body.
    let large = vec![b' '; 300 * 1024];
    assert_eq!(http.post("/validate", &large)?.0, 413);
    let declared = b"POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 900000000000\r\n\r\n";
    assert_eq!(http.send(declared)?.0, 413, "it is rejected before it is read");
    let mut chunked = b"POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..300 {
        chunked.extend(format!("400\r\n{}\r\n", " ".repeat(1024)).into_bytes());
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(http.send(&chunked)?.0, 413);
    assert_eq!(webhook.process.metric("webhook_fail_open_total{reason=\"oversized\"}")?, Some(3.0));

    // Incomplete: the webhook waits no longer than the deadline.
    let mut stuck = post("/validate", "application/json", &valid);
    stuck.truncate(stuck.len() - 10);
    assert_eq!(http.send(&stuck)?.0, 408);
    assert!(
        http.send_and_close(&stuck).is_err_and(|error| format!("{error:#}").contains("no response"))
            || webhook.process.metric("webhook_fail_open_total{reason=\"malformed\"}")?.unwrap() > failed_open
    );

    // Other content types, methods and paths.
    assert_eq!(http.send(&post("/validate", "text/plain", &valid))?.0, 415);
    assert_eq!(http.get("/validate")?.0, 405);
    assert_eq!(http.post("/", &valid)?.0, 404);
    let denied = http.post("/validate", &valid)?;
    assert!(denied.1.contains("\"allowed\":false"), "it still evaluates: {denied:?}");
    assert!(!webhook.process.log().contains("panicked"), "{}", webhook.process.log());
    Ok(())
}

/// A mutation: kind, position, length, other position, and byte.
type Change = (u8, Index, usize, Index, u8);

/// Applies mutations to a text.
fn mutated(text: &[u8], changes: &[Change]) -> Vec<u8> {
    const TOKENS: &[u8] = b"{}[]\",:0\n-e.";
    let mut text = text.to_vec();
    for (kind, place, length, other, byte) in changes {
        if text.is_empty() {
            break;
        }
        let at = place.index(text.len());
        let end = (at + length).min(text.len());
        match kind {
            0 => text[at] = *byte,
            1 => text.insert(at, TOKENS[other.index(TOKENS.len())]),
            2 => text.truncate(at),
            3 => {
                let piece = text[at..end].to_vec();
                let place = other.index(text.len());
                text.splice(place..place, piece);
            }
            _ => drop(text.drain(at..end)),
        }
    }
    text
}

#[tokio::test]
async fn randomly_mutated_reviews_are_answered() -> Result<()> {
    const SEED: [u8; 32] = *b"the same reviews in every run...";
    const ROUNDS: usize = 3000;
    let setting = Setting::new(ControlPlane::builder().controller_manager().start().await?).await?;
    let webhook = Webhook::start(&setting, &["--deadline", "1000"]).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let change = (0..5_u8, any::<Index>(), 1..40_usize, any::<Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 1..6);
    let originals = [
        review_of(&bad_pod("bad"), namespace.name()),
        review_of(
            &workload("apps/v1", "Deployment", "bad", json!({ "containers": [{ "name": "a", "image": "b" }] })),
            namespace.name(),
        ),
    ];
    let originals = originals.map(|review| review.to_string().into_bytes());
    let mut reviews = 0;
    for round in 0..ROUNDS {
        let body = mutated(&originals[round % 2], &changes.new_tree(&mut runner).unwrap().current());
        let answer = webhook.process.http().post("/validate", &body)?;
        reviews += usize::from(is_review(&body, &answer)?);
    }
    // Some mutated reviews must remain valid, or the test would cover little.
    assert!(reviews > ROUNDS / 50, "{reviews}");
    assert!(!webhook.process.log().contains("panicked"), "{}", webhook.process.log());
    Ok(())
}
