//! Monitoring: every query of the dashboard returns data of real components, and the alerts are correct.
//!
//! This needs Prometheus and promtool. Where they are missing, the tests are skipped with a message, or fail if
//! `END_TO_END_PROMETHEUS` is set.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use end_to_end::helm::output;
use end_to_end::http::{Http, Trust};
use end_to_end::objects::{bad_container_with_port, bad_pod, good_pod, selecting_workload};
use end_to_end::operator::{Setting, apply};
use end_to_end::webhook::{Webhook, namespace_with_bundle};
use end_to_end::{Controller, Folder, root, service_account};
use kube_devops_cluster::permissions::Component;
use serde_json::{Value, json};
use test_cluster::{DEADLINE, Namespace, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Returns whether the programs of Prometheus are there.
fn has_prometheus() -> bool {
    let exists = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    if let Some(missing) = ["prometheus", "promtool"].iter().find(|program| !exists(program)) {
        let text = format!("{missing} is missing; install the package prometheus");
        assert!(std::env::var_os("END_TO_END_PROMETHEUS").is_none(), "{text}");
        eprintln!("skipped: {text}");
        return false;
    }
    true
}

fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(root().join("chart/files/alerts.yaml")).unwrap();
    let file: Value = serde_norway::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_alert_has_a_unit_test_and_a_runbook() {
    let runbooks = fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    let tests = fs::read_to_string(root().join("chart/files/alerts.test.yaml")).unwrap();
    let titles: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(titles, names);
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("docs/runbooks.md#{}", name.to_lowercase())), "{url}");
    }
}

#[test]
fn the_alerts_pass_their_unit_tests() -> Result<()> {
    if !has_prometheus() {
        return Ok(());
    }
    let folder = root().join("chart/files");
    output(Command::new("promtool").current_dir(&folder).args(["check", "rules", "alerts.yaml"]))?;
    output(Command::new("promtool").current_dir(&folder).args(["test", "rules", "alerts.test.yaml"]))?;
    Ok(())
}

#[test]
fn alerts_and_dashboard_distinguish_clusters_in_a_common_prometheus() {
    for alert in alerts() {
        let (name, expression) = (&alert["alert"], alert["expr"].as_str().unwrap());
        for total in ["sum(", "min(", "max(", "count(", "group("] {
            assert!(!expression.contains(total), "{name} aggregates over clusters: {expression}");
        }
        let (all, kept) = (expression.matches(" by (").count(), expression.matches(" by (cluster").count());
        assert_eq!(all, kept, "{name} aggregates over clusters: {expression}");
        assert!(alert["annotations"]["summary"].as_str().unwrap().contains("$labels.cluster"), "{name}");
    }
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    for target in panels.flat_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().unwrap();
        let selected = expression.matches("{cluster=~\"$cluster\"").count();
        assert!(selected > 0 && selected == expression.matches('{').count(), "{expression} ignores the variable");
    }
}

/// Components export their counters from the start. API servers do not, so that increase() and rate() miss the first requests.
#[test]
fn alerts_and_dashboard_count_the_first_requests_of_api_servers() {
    let alerts = alerts();
    let alerts = alerts.iter().map(|alert| alert["expr"].as_str().unwrap().to_owned());
    let mut seen = 0;
    for expression in alerts.chain(queries()).filter(|expression| expression.contains("apiserver_")) {
        seen += 1;
        assert!(expression.contains(" unless apiserver_") && expression.contains(" offset "), "{expression}");
        assert!(!expression.contains("rate(apiserver_"), "{expression}");
    }
    assert_eq!(seen, 2, "an alert and a panel");
}

#[test]
fn the_metrics_of_the_dashboard_are_documented_including_those_of_api_servers() {
    let metrics = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut seen = BTreeSet::new();
    for query in queries() {
        let selectors: Vec<&str> = query.split('{').collect();
        // What follows the last brace is no name.
        for before in &selectors[..selectors.len() - 1] {
            let name = before.rsplit(|character: char| !character.is_ascii_lowercase() && character != '_').next();
            let name = name.unwrap().trim_end_matches("_bucket").to_owned();
            assert!(metrics.contains(&format!("| `{name}` |")), "{name} is not documented");
            seen.insert(name);
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
    let api_servers = "apiserver_admission_webhook_fail_open_count";
    assert!(seen.contains(api_servers));
    for page in ["docs/observability.md", "docs/webhook.md"] {
        assert!(fs::read_to_string(root().join(page)).unwrap().contains(api_servers), "{page}");
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("chart/files/dashboard.json")).unwrap()).unwrap()
}

#[test]
fn the_dashboard_has_four_rows_and_26_panels() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let (rows, others): (Vec<&Value>, Vec<&Value>) = panels.iter().partition(|panel| panel["type"] == "row");
    let titles: Vec<&str> = rows.iter().map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Watch", "Reconcile", "Enforcement", "Webhook"]);
    assert_eq!(others.len(), 26);
    for panel in others {
        assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{} has no description", panel["title"]);
    }
}

/// The queries of the dashboard, with all clusters, namespaces and policies.
fn queries() -> BTreeSet<String> {
    let dashboard = dashboard();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let expression = |target: &Value| {
        let mut text = target["expr"].as_str().unwrap().to_owned();
        for (variable, value) in [
            ("$__rate_interval", "1m"),
            ("$__range", "5m"),
            ("$cluster", ".*"),
            ("$namespace", ".*"),
            ("$policy", ".*"),
        ] {
            text = text.replace(variable, value);
        }
        assert!(!text.contains('$'), "{text}");
        text
    };
    targets.map(expression).collect()
}

/// Prometheus. It ends when this is dropped.
struct Prometheus {
    child: Child,
    http: Http,
    _folder: Folder,
}

impl Prometheus {
    /// Starts Prometheus, which scrapes these addresses.
    async fn start(setting: &Setting, plain: &[SocketAddr], tls: SocketAddr) -> Result<Self> {
        let folder = Folder::new();
        let job = |name: &str, scheme: &str, targets: &[SocketAddr]| {
            json!({
                "job_name": name, "scheme": scheme, "tls_config": { "insecure_skip_verify": true },
                "static_configs": [{ "targets": targets }],
            })
        };
        let jobs = [job("plain", "http", plain), job("tls", "https", &[tls])];
        let configuration = json!({ "global": { "scrape_interval": "1s" }, "scrape_configs": jobs });
        folder.write("prometheus.yml", configuration.to_string());
        let log = folder.path().join("log");
        let child = setting
            .plane
            .command("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut prometheus = Self { child, http: Http { address: any, trust: Trust::Plain }, _folder: folder };
        prometheus.http.address = eventually(DEADLINE, "Prometheus to listen", async || {
            let text = fs::read_to_string(&log)?;
            let line = text.lines().find(|line| line.contains("msg=\"Listening on\"")).with_context(|| text.clone())?;
            Ok(line.rsplit("address=").next().unwrap_or_default().trim().parse()?)
        })
        .await?;
        Ok(prometheus)
    }

    /// Returns the result of a query.
    fn query(&self, query: &str) -> Result<Vec<Value>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (code, text) = self.http.get(&format!("/api/v1/query?query={encoded}"))?;
        ensure!(code == 200, "{query}: {text}");
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `kubectl proxy`, through which Prometheus scrapes the API server.
async fn api_server_proxy(setting: &Setting) -> Result<(tokio::process::Child, SocketAddr)> {
    let mut command = setting.plane.kubeconfig().kubectl_command();
    let mut proxy =
        command.args(["proxy", "--port=0"]).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(proxy.stdout.take().context("its output is piped")?).lines();
    let line = lines.next_line().await?.context("kubectl proxy has ended")?;
    let address = line.rsplit(' ').next().context("the line ends with the address")?.parse()?;
    Ok((proxy, address))
}

/// Makes API servers fail open, as if the webhook were unreachable.
async fn fail_open(setting: &Setting, namespace: &Namespace) -> Result<()> {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "unreachable" },
        "webhooks": [{
            "name": "unreachable.devops.stochastic.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "clientConfig": { "url": "https://127.0.0.1:1/" },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
            }],
        }],
    });
    apply(setting.namespace(), &configuration.to_string()).await?;
    eventually(DEADLINE, "the API server to fail open", async || {
        namespace.kubectl(["create", "configmap", "a", "--dry-run=server"]).await?;
        let metrics = setting.plane.kubectl(["get", "--raw", "/metrics"]).await?;
        ensure!(metrics.contains("fail_open_count{name=\"unreachable.devops.stochastic.io\""));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_query_of_the_dashboard_returns_data() -> Result<()> {
    if !has_prometheus() {
        return Ok(());
    }
    let setting = Setting::start().await?;
    let operator = setting.operator().await?;
    let webhook = Webhook::start_for_operator(&setting, &["--deny-severity", "high"]).await?;
    let account = service_account(&setting.plane, setting.namespace(), &[Component::Watch]).await?;
    let lease = ["watch", "--lease-namespace", setting.namespace().name(), "--lease-duration", "3"];
    let watch = Controller::start(&setting.plane, account.path(), &lease).await?;
    let (_proxy, api_server) = api_server_proxy(&setting).await?;
    let plain = [operator.http().address, watch.http().address, api_server];
    let prometheus = Prometheus::start(&setting, &plain, webhook.process.http().address).await?;

    // Violations, a remediation, and denials.
    let existing = setting.plane.namespace("existing").await?;
    let workload = selecting_workload("Deployment", "web", [bad_container_with_port("app", 80)]);
    apply(&existing, &workload.to_string()).await?;
    let spec = json!({ "forbidLatestTag": true, "requireLivenessProbe": true, "enforcementMode": "enforce" });
    apply(&existing, &end_to_end::operator::policy("strict", &spec)).await?;
    let namespace = namespace_with_bundle(&setting, &webhook.process, "restricted").await?;
    fail_open(&setting, &namespace).await?;

    let queries = queries();
    assert!(queries.len() > 25, "{queries:?}");
    eventually(DEADLINE, "all queries to return data", async || {
        // Rates need requests between two scrapes.
        apply(&namespace, &good_pod("good").to_string()).await?;
        let denied = namespace.kubectl_with_input(["create", "-f", "-"], &bad_pod("bad").to_string()).await;
        ensure!(denied.is_err(), "a pod with violations was admitted");
        let mut missing = Vec::new();
        for query in &queries {
            if prometheus.query(query)?.is_empty() {
                missing.push(query);
            }
        }
        ensure!(missing.is_empty(), "no data for {missing:#?}");
        Ok(())
    })
    .await
}
