//! `multi-cluster`: several clusters in one report, of which some cannot be read.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use end_to_end::objects::{bad_pod, documents, good_pod, in_namespace};
use end_to_end::{Folder, Ran, kube_devops, root, run, unreachable_kubeconfig};
use roxmltree::Document;
use serde_json::{Value, json};
use test_cluster::{Component, ControlPlane, Kubeconfig};

fn call(kubeconfig: &Path, arguments: &[&str]) -> Ran {
    run(kube_devops().arg("multi-cluster").args(arguments).arg("--kubeconfig").arg(kubeconfig))
}

/// Writes a kubeconfig with the contexts of several files; the first one is the current one.
fn merged(folder: &Folder, files: &[PathBuf]) -> Result<PathBuf> {
    let mut merged = json!({ "apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": [] });
    for file in files {
        let one: Value = serde_norway::from_str(&fs::read_to_string(file)?)?;
        for list in ["clusters", "users", "contexts"] {
            let more = one[list].as_array().cloned().unwrap();
            merged[list].as_array_mut().unwrap().extend(more);
        }
        if merged.get("current-context").is_none() {
            merged["current-context"] = one["current-context"].clone();
        }
    }
    Ok(folder.write("kubeconfig", merged.to_string()))
}

fn named(kubeconfig: &Kubeconfig, context: &str) -> Result<PathBuf> {
    Ok(kubeconfig.with_context(context)?.path().to_owned())
}

/// Starts an API server with pods in the namespace `shop`, of which some have three violations each.
async fn cluster(good: usize, bad: usize) -> Result<ControlPlane> {
    let plane = ControlPlane::builder().start().await?;
    plane.kubectl(["create", "namespace", "shop"]).await?;
    let good = (0..good).map(|index| good_pod(&format!("good-{index}")));
    let pods: Vec<Value> = good.chain((0..bad).map(|index| bad_pod(&format!("bad-{index}")))).collect();
    let pods: Vec<Value> = pods.into_iter().map(|pod| in_namespace(pod, "shop")).collect();
    plane.kubectl_with_input(["create", "-f", "-"], &documents(&pods)).await?;
    Ok(plane)
}

fn schema(path: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(root().join(path)).unwrap();
    // The pattern is not valid ECMAScript; OASIS corrected it in the errata.
    let text = text.replace("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// Returns the name, the score and the number of pods of each cluster.
fn clusters(report: &Value) -> Vec<(String, Option<u64>, u64)> {
    let clusters = report["clusters"].as_array().unwrap().iter();
    let row = |cluster: &Value| {
        (cluster["name"].as_str().unwrap().to_owned(), cluster["score"].as_u64(), cluster["subjects"].as_u64().unwrap())
    };
    clusters.map(row).collect()
}

#[tokio::test]
async fn clusters_are_evaluated_together() -> Result<()> {
    // 9 pods without violations, and one with three violations of the penalties 5, 3 and 2.
    let (one, two) = tokio::try_join!(cluster(9, 0), cluster(0, 1))?;
    let folder = Folder::new();
    let file = merged(&folder, &[named(one.kubeconfig(), "one")?, named(two.kubeconfig(), "two")?])?;
    let ran = call(&file, &["analyze", "-o", "json"]).exits(0).is_quiet();
    let report = ran.json();
    let validator = schema("docs/report.schema.json");
    assert!(validator.is_valid(&report), "{report:#}");
    let expected = [("two".to_owned(), Some(90), 1), ("one".to_owned(), Some(100), 9)];
    assert_eq!(clusters(&report), expected);
    // The score is that of ten pods, not the mean of the two clusters.
    assert_eq!((&report["score"], &report["subjects"], &report["compliance"]), (&json!(99), &json!(10), &json!(95.0)));
    let violations = report["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 3);
    assert!(violations.iter().all(|violation| violation["cluster"] == "two"), "{violations:#?}");
    let namespaces: Vec<_> = report["namespaces"].as_array().unwrap().iter().map(|one| &one["cluster"]).collect();
    assert_eq!(namespaces, ["one", "two"]);

    // The report on one cluster has neither.
    let single = run(kube_devops().args(["analyze", "-o", "json", "--kubeconfig"]).arg(&file)).exits(0);
    assert!(!single.stdout.contains("\"cluster"), "{}", single.stdout);

    let text = call(&file, &["analyze", "--per-cluster"]).exits(0).is_quiet().stdout;
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("two "), ["two", "90", "Healthy", "50.0", "%", "F", "1", "3"], "{text}");
    assert!(text.find("\ntwo ") < text.find("\none "), "{text}");
    for part in ["Pod bad-0 in shop, cluster two, penalty 10", "Clusters Evaluated         : 2 of 2", ": 99"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!call(&file, &["analyze"]).stdout.contains("\ntwo "));

    assert_eq!(clusters(&call(&file, &["analyze", "--contexts", "o*", "-o", "json"]).exits(0).json()).len(), 1);
    call(&file, &["analyze", "--fail-on", "medium", "-o", "json"]).exits(1).complains(&["gate not met: 3 violations"]);
    call(&file, &["analyze", "--contexts", "one", "--min-score", "100", "-n", "shop"]).exits(0);
    call(&file, &["analyze", "--min-score", "100", "--bundle", "restricted"])
        .exits(1)
        .complains(&["the health score 99"]);
    call(&file, &["analyze", "-l", "no=such"])
        .exits(0)
        .complains(&["warning: nothing was evaluated: no pods found in one, two"]);
    other_formats(&file);
    Ok(())
}

fn other_formats(file: &Path) {
    let sarif = call(file, &["analyze", "-o", "sarif"]).exits(0).json();
    let validator = schema("tests/schemas/sarif-2.1.0.json");
    assert!(validator.is_valid(&sarif), "{sarif:#}");
    let result = &sarif["runs"][0]["results"][0];
    let location = &result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"];
    assert_eq!((&result["properties"]["cluster"], location), (&json!("two"), &json!("two/shop/Pod/bad-0/app")));
    let junit = call(file, &["analyze", "-o", "junit"]).exits(0).stdout;
    let document = Document::parse(&junit).unwrap();
    let suites = document.root_element().children().filter(|node| node.is_element());
    let suites: Vec<_> = suites.map(|node| node.attribute("name").unwrap()).collect();
    assert_eq!(suites, ["kube-devops", "two/shop"]);
    let github = call(file, &["analyze", "-o", "github"]).exits(0).stdout;
    assert!(github.contains("::Pod shop/bad-0 in cluster two, container app: "), "{github}");
    let yaml: Value = serde_norway::from_str(&call(file, &["analyze", "-o", "yaml"]).exits(0).stdout).unwrap();
    assert_eq!(yaml, call(file, &["analyze", "-o", "json"]).json());
}

#[tokio::test]
async fn clusters_that_cannot_be_read_are_errors_and_the_others_are_evaluated() -> Result<()> {
    let (healthy, denying, slow) = tokio::try_join!(cluster(1, 1), cluster(1, 0), cluster(1, 0))?;
    let folder = Folder::new();
    let dead = folder.write("dead", unreachable_kubeconfig().replace("\"gone\"", "\"dead\""));
    let unprivileged = denying.kubeconfig_for_user("unprivileged", &[])?;
    let files = [
        named(healthy.kubeconfig(), "healthy")?,
        named(&unprivileged, "denied")?,
        named(slow.kubeconfig(), "slow")?,
        dead,
    ];
    let file = merged(&folder, &files)?;
    slow.pause(Component::ApiServer)?;
    let start = Instant::now();
    let ran = call(&file, &["analyze", "-o", "json", "--timeout", "3", "--min-score", "100"]);
    let elapsed = start.elapsed();
    let text = call(&file, &["analyze", "--per-cluster", "--timeout", "3", "--parallel", "1"]).exits(2).stdout;
    slow.resume(Component::ApiServer)?;

    // Far more than three seconds, and far less than the timeouts of clients.
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
    let ran = ran.exits(2).complains(&[
        "gate not met: the health score 95 is below 100\n",
        "not evaluated: 3 of 4 clusters: dead, denied, slow\n",
        "3 errors: not everything was evaluated\n",
    ]);
    let report = ran.json();
    let unread = |name: &str| (name.to_owned(), None, 0);
    assert_eq!(
        clusters(&report),
        [("healthy".to_owned(), Some(95), 2), unread("dead"), unread("denied"), unread("slow")]
    );
    let errors: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|error| (&error["cluster"], &error["message"])).collect();
    for (error, (name, part)) in errors.iter().zip([
        ("dead", "cluster dead: https://127.0.0.1:1 cannot be reached: "),
        ("denied", "cluster denied: not allowed to list the pods of all namespaces"),
        ("slow", "cluster slow: its pods were not listed within 3 s"),
    ]) {
        assert_eq!(error.0, name, "{errors:?}");
        assert!(error.1.as_str().unwrap().starts_with(part), "{errors:?}");
    }
    assert_eq!(errors.len(), 3);
    assert!(text.contains("Clusters Evaluated         : 1 of 4\n"), "{text}");
    let last = text.lines().find(|line| line.starts_with("slow ")).unwrap();
    assert!(last.contains("not evaluated"), "{text}");

    let none = call(&file, &["analyze", "--contexts", "dead", "-o", "json"]).exits(2).json();
    assert_eq!((&none["score"], &none["subjects"]), (&Value::Null, &json!(0)));
    Ok(())
}

#[tokio::test]
async fn a_plugin_for_credentials_that_hangs_does_not_delay_the_other_clusters() -> Result<()> {
    let plane = cluster(1, 0).await?;
    let folder = Folder::new();
    let healthy = named(plane.kubeconfig(), "healthy")?;
    let mut hanging: Value = serde_norway::from_str(&fs::read_to_string(named(plane.kubeconfig(), "hanging")?)?)?;
    // It ends with the program.
    let script = "while kill -0 $PPID 2>/dev/null; do sleep 0.1; done";
    hanging["users"][0]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
    } });
    let hanging = folder.write("hanging", hanging.to_string());
    let file = merged(&folder, &[healthy, hanging])?;
    let start = Instant::now();
    let ran = call(&file, &["analyze", "-o", "json", "--timeout", "2"]).exits(2);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(clusters(&ran.json()), [("healthy".to_owned(), Some(100), 1), ("hanging".to_owned(), None, 0)]);
    ran.complains(&["warning: the contexts hanging, healthy have the same server"]);
    Ok(())
}

#[test]
fn contexts_are_listed() {
    let kubeconfig = json!({
        "current-context": "b",
        "clusters": [{ "name": "one", "cluster": { "server": "https://one.example.com" } }],
        "users": [{ "name": "me", "user": {} }],
        "contexts": [
            { "name": "b", "context": { "cluster": "one", "user": "me", "namespace": "shop" } },
            { "name": "a\u{1b}[31m", "context": { "cluster": "two", "user": "other" } },
        ],
    });
    let folder = Folder::with([("kubeconfig", kubeconfig.to_string()), ("empty", "contexts: []\n".to_owned())]);
    let file = folder.path().join("kubeconfig");
    let text = call(&file, &["list-contexts"]).exits(0).is_quiet().stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["CURRENT", "NAME", "CLUSTER", "USER", "NAMESPACE"]);
    assert_eq!(rows[1], ["a\\u{1b}[31m", "two", "other"]);
    assert_eq!(rows[2], ["*", "b", "one", "me", "shop"]);
    let json = call(&file, &["list-contexts", "-o", "json"]).exits(0).json();
    let expected = json!({
        "name": "b", "current": true, "cluster": "one", "server": "https://one.example.com", "user": "me",
        "namespace": "shop",
    });
    assert_eq!(json[1], expected);
    assert_eq!(call(&file, &["list-contexts", "-o", "name"]).exits(0).stdout, "a\\u{1b}[31m\nb\n");
    let by_environment =
        run(kube_devops().args(["multi-cluster", "list-contexts", "-o", "name"]).env("KUBECONFIG", &file));
    assert_eq!(by_environment.exits(0).stdout.lines().count(), 2);
    let none = call(&folder.path().join("empty"), &["list-contexts"]).exits(0);
    assert_eq!((&*none.stdout, &*none.stderr), ("", "no contexts found\n"));
}

#[test]
fn wrong_contexts_are_rejected_before_the_evaluation() {
    let folder = Folder::with([("kubeconfig", unreachable_kubeconfig()), ("empty", "contexts: []\n".to_owned())]);
    let file = folder.path().join("kubeconfig");
    for (arguments, part) in [
        (&["analyze", "--contexts", "gone,prod"][..], "error: no context matches \"prod\"; the contexts are gone"),
        (&["analyze", "--context", "gone"], "use --contexts instead of --context"),
        (&["list-contexts", "--context", "gone"], "--context has no effect"),
        (&["analyze", "--timeout", "0"], "1..=3600"),
        (&["analyze", "--parallel", "0"], "1..=64"),
        (&["analyze", "--bundle", "strict"], "unknown bundle"),
        (&["analyze", "-f", "examples"], "unexpected argument"),
    ] {
        let ran = call(&file, arguments).exits(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        ran.complains(&[part]);
    }
    call(&folder.path().join("empty"), &["analyze"]).exits(2).complains(&["the kubeconfig contains no contexts"]);
    call(&folder.path().join("no-such-file"), &["list-contexts"])
        .exits(2)
        .complains(&["no usable cluster configuration"]);
}
