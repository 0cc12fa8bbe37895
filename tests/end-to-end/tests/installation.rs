//! An installation with Helm on a real node: the image runs, every feature works under the ServiceAccounts of the chart, and
//! nothing is interrupted by a lost replica, an upgrade or a rollback.
#![forbid(unsafe_code)]
// A scenario is read from top to bottom.
#![allow(clippy::too_many_lines, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use end_to_end::guests::guest;
use end_to_end::helm::{helm, output};
use end_to_end::javascript::build_example;
use end_to_end::objects::{bad_container_with_port, bad_pod, good_pod, selecting_workload};
use end_to_end::operator::{apply, get, policy};
use end_to_end::webhook::denial;
use end_to_end::{Folder, kube_devops, program, root, run};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use rcgen::KeyPair;
use serde_json::{Value, json};
use test_cluster::registry::{Authentication, Registry, RegistryOptions};
use test_cluster::{ControlPlane, Namespace, eventually, real_node};
use tokio_util::sync::CancellationToken;

const BUSYBOX: &str = "localhost/busybox:1";
/// Image builds and rollouts take their time.
const DEADLINE: Duration = Duration::from_secs(180);
const PLATFORM: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: kube-devops\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n";

/// The final stage of the Dockerfile, with files of the context instead of those of the build stage.
fn final_stage() -> Result<String> {
    let text = fs::read_to_string(root().join("Dockerfile"))?;
    let (_, stage) = text.split_once("\nFROM scratch\n").context("the last stage starts from scratch")?;
    Ok(format!("FROM scratch\n{}", stage.replace("--from=build /image/", "image/")))
}

/// Copies the program of the tests, and the libraries that a debug build is linked with.
fn copy_program(target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    output(Command::new("strip").arg("-o").arg(target.join("kube-devops")).arg(program()))?;
    let linked = output(Command::new("ldd").arg(program()))?;
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = target.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().context("a library is in a folder")?)?;
        fs::copy(library, copy)?;
    }
    Ok(())
}

struct Installation {
    plane: ControlPlane,
    home: Folder,
    /// The namespace with a policy.
    evaluated: String,
}

impl Installation {
    /// Runs Helm, with the logs of the platform in the error.
    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = helm(self.home.path())?;
        command.arg("--kubeconfig").arg(self.plane.kubeconfig().path()).args(["--namespace", "kube-devops"]);
        let ran = output(command.args(arguments));
        if ran.is_ok() {
            return ran;
        }
        let pods = self.kubectl(&["get", "pods,jobs,events", "-n", "kube-devops"]).await.unwrap_or_default();
        ran.context(pods)
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(arguments).await
    }

    /// Runs Helm with the image of a version.
    async fn release(&self, arguments: &[&str], version: &str) -> Result<String> {
        let image = format!("image.registry=localhost,image.repository=kube-devops,image.tag={version}");
        let policy = format!(
            "policies[0].name=restricted,policies[0].namespace={},policies[0].bundle=restricted",
            self.evaluated
        );
        self.helm(&[arguments, &["--wait", "--timeout", "150s", "--set", &image, "--set", &policy]].concat()).await
    }

    /// Requests a path of a component through the API server.
    async fn get(&self, service: &str, path: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/kube-devops/services/{service}/proxy{path}");
        self.kubectl(&["get", "--raw", &path]).await
    }
}

/// A client that tries to create a pod with violations, and one without, all the time.
struct PodCreator {
    tried: Arc<AtomicU64>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<()>>,
}

impl PodCreator {
    fn start(client: Client, namespace: &str) -> Self {
        let (tried, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let (counter, token) = (tried.clone(), stop.clone());
        let ended = tokio::spawn(async move {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let (bad, good): (Pod, Pod) =
                (serde_json::from_value(bad_pod("bad"))?, serde_json::from_value(good_pod("good"))?);
            while !token.is_cancelled() {
                match pods.create(&dry_run, &bad).await {
                    Err(kube::Error::Api(status)) if status.message.contains("denied the request") => {}
                    other => bail!("after {} attempts: {other:?}", counter.load(Ordering::Relaxed)),
                }
                pods.create(&dry_run, &good).await.context("a pod without violations")?;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { tried, stop, ended }
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.ended.await?.context("a request was not evaluated")?;
        let tried = self.tried.load(Ordering::Relaxed);
        ensure!(tried > 20, "only {tried} attempts");
        Ok(())
    }
}

async fn expect_denial(namespace: &Namespace) -> Result<()> {
    eventually(DEADLINE, "the webhook to deny a Deployment", async || {
        let bad = selecting_workload("Deployment", "bad", [bad_container_with_port("app", 80)]);
        let denied = namespace.kubectl_with_input(["apply", "--dry-run=server", "-f", "-"], &bad.to_string()).await;
        let error = denied.err().context("it was admitted")?.to_string();
        ensure!(error.contains("denied the request: 3 violations in Deployment bad"), "{error}");
        Ok(())
    })
    .await
}

/// A user who may view a namespace reads its policies and their results, and changes none.
async fn expect_reader(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(["create", "rolebinding", "reader", "--clusterrole=view", "--user=reader"]).await?;
    eventually(DEADLINE, "the role to be aggregated", async || {
        namespace.kubectl(["get", "devopspolicies,policyauditresults", "--as=reader"]).await.map(drop)
    })
    .await?;
    let denied = namespace.kubectl(["delete", "devopspolicy", "restricted", "--as=reader"]).await.err();
    let denied = denied.context("a reader deleted the policy")?.to_string();
    ensure!(denied.contains("forbidden"), "{denied}");
    Ok(())
}

/// A Deployment that only lacks probes and resources, so that it is remediated.
fn web() -> Value {
    let container = json!({
        "name": "web", "image": BUSYBOX, "command": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/bin"],
        "ports": [{ "containerPort": 8080 }],
    });
    selecting_workload("Deployment", "web", [container])
}

/// The folder of the component in JavaScript. It is built before the test is isolated.
const JAVASCRIPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/installation");

fn build_javascript() -> Result<()> {
    let folder = Path::new(JAVASCRIPT);
    fs::create_dir_all(folder)?;
    let is_built = build_example(folder)?;
    if !is_built && folder.join("registries.wasm").exists() {
        fs::remove_file(folder.join("registries.wasm"))?;
    }
    Ok(())
}

/// A custom check, and a namespace with a policy that enables it.
struct CustomCheck {
    name: &'static str,
    settings: Value,
    namespace: Namespace,
}

impl CustomCheck {
    /// Creates the PolicyModule, a pod with a violation, and the policy.
    async fn start(release: &Installation, name: &'static str, settings: Value, module: Value) -> Result<Self> {
        let module = json!({
            "apiVersion": "devops.stochastic.io/v1alpha1", "kind": "PolicyModule", "metadata": { "name": name },
            "spec": module,
        });
        let namespace = release.plane.namespace(&format!("custom-{name}")).await?;
        apply(&namespace, &module.to_string()).await?;
        let check = Self { name, settings, namespace };
        apply(&check.namespace, &good_pod("existing").to_string()).await?;
        apply(&check.namespace, &check.policy()).await?;
        Ok(check)
    }

    fn policy(&self) -> String {
        policy("custom", &json!({ "checks": [{ "check": self.name, "severity": "high", "settings": self.settings }] }))
    }

    /// Waits until the operator reports and the webhook denies what `analyze` finds with the component in a folder.
    async fn expect(&self, folder: &Folder) -> Result<()> {
        let (name, namespace) = (self.name, &self.namespace);
        eventually(DEADLINE, "the custom check at all doors", async || {
            let module = get(namespace, "policymodule", name).await?;
            ensure!(module["status"]["checks"] == json!([name]), "{:#}", module["status"]);
            let status = get(namespace, "devopspolicy", "custom").await?["status"].take();
            ensure!(status["violationsByCheck"] == json!({ name: 1 }), "{status:#}");
            let error = denial(namespace).await.context("the pod was admitted")?;
            ensure!(error.contains(&format!("({name}, high, policy custom)")), "{error}");
            Ok(())
        })
        .await?;
        folder.write("policy.yaml", self.policy());
        folder.write("pod.yaml", good_pod("existing").to_string());
        let mut analyze = kube_devops();
        analyze.current_dir(folder.path()).args(["analyze", "-f", "pod.yaml", "--policy", "policy.yaml"]);
        let report = run(analyze.args(["-o", "json", "--module", &format!("{name}.wasm")])).exits(0).json();
        ensure!(report["violations"].as_array().map(Vec::len) == Some(1), "{report:#}");
        Ok(())
    }
}

/// Custom checks: one in a registry that only pods of the node and this test can reach, and one in a ConfigMap.
struct Modules {
    registry: Registry,
    files: Folder,
    checks: Vec<CustomCheck>,
}

impl Modules {
    async fn start(release: &Installation) -> Result<Self> {
        let authentication = Authentication::Basic { user: "robot".to_owned(), password: "s3cret".to_owned() };
        let options = RegistryOptions { tls: true, authentication, on_node: true, ..RegistryOptions::default() };
        let mut modules = Self { registry: Registry::start(options).await?, files: Folder::new(), checks: Vec::new() };
        modules.push_rust(release).await?;
        modules.store_javascript(release).await?;
        Ok(modules)
    }

    /// Pushes and signs a module in Rust.
    async fn push_rust(&mut self, release: &Installation) -> Result<()> {
        let (files, registry, key) = (&self.files, &self.registry, KeyPair::generate()?);
        files.write("reader.wasm", guest("reader", Path::new(env!("CARGO_TARGET_TMPDIR")))?);
        files.write("ca.crt", registry.ca_pem().unwrap());
        files.write("key.pem", key.serialize_pem());
        let login = json!({ "auths": { registry.host(): { "username": "robot", "password": "s3cret" } } }).to_string();
        let login = files.write("login.json", login);
        let reference = format!("{}/checks/reader:1.0", registry.host());
        let mut push = kube_devops();
        push.current_dir(files.path()).args(["module", "push", "reader.wasm", &reference, "--sign-key", "key.pem"]);
        run(push.args(["--registry-ca-file", "ca.crt", "--registry-config", "login.json"])).exits(0);

        let login = format!("--from-file=.dockerconfigjson={}", login.display());
        let secret = ["create", "secret", "generic", "kube-devops-registry", "-n", "kube-devops", &login];
        release.kubectl(&[&secret[..], &["--type=kubernetes.io/dockerconfigjson"]].concat()).await?;
        let module = json!({
            "source": { "oci": {
                "reference": reference, "pullSecret": "kube-devops-registry", "caBundle": registry.ca_pem(),
            } },
            "verify": { "publicKeys": [key.public_key_pem()] },
            "grants": ["object"],
        });
        self.checks.push(CustomCheck::start(release, "reader", json!({}), module).await?);
        Ok(())
    }

    /// Stores a module in JavaScript as a ConfigMap, compressed, if it could be built.
    async fn store_javascript(&mut self, release: &Installation) -> Result<()> {
        let Ok(component) = fs::read(Path::new(JAVASCRIPT).join("registries.wasm")) else { return Ok(()) };
        let file = self.files.write("registries.wasm", component);
        output(Command::new("gzip").arg("--keep").arg(&file))?;
        let compressed = format!("--from-file={}.gz", file.display());
        release.kubectl(&["create", "configmap", "registries", "-n", "kube-devops", &compressed]).await?;
        let module = json!({ "source": { "configMap": { "name": "registries" } } });
        let settings = json!({ "allowed": ["registry.example.com"] });
        self.checks.push(CustomCheck::start(release, "registries", settings, module).await?);
        Ok(())
    }

    async fn expect(&self) -> Result<()> {
        for check in &self.checks {
            let log = || format!("{}\n{}", self.registry.host(), self.registry.log().unwrap_or_default());
            check.expect(&self.files).await.with_context(log)?;
        }
        Ok(())
    }

    /// Removes what the release does not.
    async fn remove(self, release: &Installation) -> Result<()> {
        for check in &self.checks {
            release.kubectl(&["delete", "policymodule", check.name]).await?;
        }
        release.kubectl(&["delete", "secret", "kube-devops-registry", "-n", "kube-devops"]).await?;
        Ok(())
    }
}

/// Waits for the ends of rollouts, as before every uninstallation: a new leader monitors them again.
async fn expect_no_rollout(release: &Installation) -> Result<()> {
    let rolling_out =
        "jsonpath={range .items[*].status.workloads[?(@.state==\"RollingOut\")]}{.kind}/{.name}{\"\\n\"}{end}";
    eventually(DEADLINE, "the ends of rollouts", async || {
        let workloads = release.kubectl(&["get", "devopspolicies", "-A", "-o", rolling_out]).await?;
        ensure!(workloads.trim().is_empty(), "{workloads}");
        Ok(())
    })
    .await
}

/// Changes from the managed certificate to one in a Secret, whose files belong to root on the node.
async fn provide_certificate(release: &Installation) -> Result<()> {
    let folder = Folder::new();
    run(kube_devops().args(["webhook", "cert-generate", "--output-dir"]).arg(folder.path())).exits(0);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (format!("--cert={}", file("tls.crt")), format!("--key={}", file("tls.key")));
    release.kubectl(&["create", "secret", "tls", "certificate", "-n", "kube-devops", &certificate, &key]).await?;
    let bundle = format!("webhook.certificate.caBundle={}", file("ca.crt"));
    let upgrade = ["upgrade", "kube-devops", "chart", "--set"];
    let provided =
        ["webhook.certificate.source=provided,webhook.certificate.secretName=certificate", "--set-file", &bundle];
    let provided = [&upgrade[..], &provided].concat();
    let error = format!("{:#}", release.release(&provided, "v2").await.unwrap_err());
    ensure!(error.contains("cannot be changed from managed to provided"), "{error}");
    // Nothing has changed.
    release.helm(&["test", "kube-devops"]).await?;
    release.release(&[&upgrade[..], &["webhook.enabled=false"]].concat(), "v2").await?;
    release.release(&provided, "v2").await?;
    release.helm(&["test", "kube-devops"]).await?;
    Ok(())
}

#[test]
fn a_release_works_on_a_real_node() -> Result<()> {
    real_node::isolated("a_release_works_on_a_real_node", build_javascript, async {
        let plane = ControlPlane::builder().controller_manager().scheduler().real_node().start().await?;
        let context = Folder::new();
        copy_program(&context.path().join("image"))?;
        for version in ["v1", "v2"] {
            plane.build_image(context.path(), &final_stage()?, &format!("localhost/kube-devops:{version}"))?;
        }
        plane.load_busybox(BUSYBOX)?;
        plane.kubectl_with_input(["create", "-f", "-"], PLATFORM).await?;
        let shop = plane.namespace("shop").await?;
        let release = Installation { plane, home: Folder::new(), evaluated: shop.name().to_owned() };
        // Existing workloads are remediated, and were not evaluated at admission.
        apply(&shop, &web().to_string()).await?;
        let crashing = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "crashing" },
            "spec": { "containers": [{ "name": "app", "image": BUSYBOX, "command": ["/bin/busybox", "false"] }] },
        });
        apply(&shop, &crashing.to_string()).await?;

        release.release(&["install", "kube-devops", "chart"], "v1").await?;
        release.helm(&["test", "kube-devops", "--logs"]).await?;
        expect_denial(&shop).await?;
        expect_reader(&shop).await?;
        let modules = Modules::start(&release).await?;
        modules.expect().await?;

        eventually(DEADLINE, "a crash in the status and in the score", async || {
            let status = get(&shop, "devopspolicy", "restricted").await?["status"].take();
            ensure!(status["violationsByCheck"]["high-restarts"].as_u64() > Some(0), "{status:#}");
            let score = format!("namespace_health_score{{namespace=\"{}\"}} ", shop.name());
            let metrics = release.get("http:kube-devops-watch:metrics", "/metrics").await?;
            let value = metrics.lines().find_map(|line| line.strip_prefix(&score));
            ensure!(value.context("it is not the leader")?.parse::<f64>()? < 100.0, "{metrics}");
            Ok(())
        })
        .await?;
        eventually(DEADLINE, "web to be remediated", async || {
            let web = get(&shop, "deployment", "web").await?;
            let container = &web["spec"]["template"]["spec"]["containers"][0];
            ensure!(container["livenessProbe"]["tcpSocket"]["port"] == 8080, "{container:#}");
            ensure!(container["resources"]["limits"]["memory"].is_string(), "{container:#}");
            Ok(())
        })
        .await?;
        shop.kubectl(["rollout", "status", "deployment/web", "--timeout=120s"]).await?;

        let creator = PodCreator::start(shop.client().await?, shop.name());
        for component in ["watch", "reconcile", "webhook"] {
            let selector = format!("app.kubernetes.io/component={component}");
            let pods =
                ["get", "pods", "-n", "kube-devops", "-l", &selector, "-o", "jsonpath={.items[0].metadata.name}"];
            let pod = release.kubectl(&pods).await?;
            release.kubectl(&["delete", "pod", &pod, "-n", "kube-devops", "--wait=true"]).await?;
        }
        for component in ["watch", "reconcile", "webhook"] {
            let deployment = format!("deployment/kube-devops-{component}");
            release.kubectl(&["rollout", "status", &deployment, "-n", "kube-devops", "--timeout=120s"]).await?;
        }
        creator.stop().await.context("while replicas were deleted")?;

        // As if the new version had another schema.
        let definition = "devopspolicies.devops.stochastic.io";
        let short_names = r#"{"spec":{"names":{"shortNames":["old"]}}}"#;
        release.kubectl(&["patch", "crd", definition, "--type=merge", "-p", short_names]).await?;
        let creator = PodCreator::start(shop.client().await?, shop.name());
        release.release(&["upgrade", "kube-devops", "chart"], "v2").await?;
        creator.stop().await.context("during the upgrade")?;
        let names = release.kubectl(&["get", "crd", definition, "-o", "jsonpath={.spec.names.shortNames}"]).await?;
        assert_eq!(names, "[\"dop\"]");
        // The new pods fetched the module for themselves.
        modules.expect().await?;
        let images = "jsonpath={.items[*].spec.template.spec.containers[0].image}";
        let images = release.kubectl(&["get", "deployments", "-n", "kube-devops", "-o", images]).await?;
        assert_eq!(images, ["localhost/kube-devops:v2"; 3].join(" "));

        let creator = PodCreator::start(shop.client().await?, shop.name());
        release.helm(&["rollback", "kube-devops", "1", "--wait", "--timeout", "150s"]).await?;
        creator.stop().await.context("during the rollback")?;
        release.helm(&["test", "kube-devops"]).await?;
        modules.remove(&release).await?;
        provide_certificate(&release).await?;
        expect_denial(&shop).await?;

        expect_no_rollout(&release).await?;
        release.helm(&["uninstall", "kube-devops", "--wait", "--timeout", "150s"]).await?;
        let kinds = "deployments,services,serviceaccounts,configmaps,secrets,leases,roles,rolebindings,jobs,clusterroles,\
                     clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let left = release.kubectl(&["get", kinds, "-n", "kube-devops", "-o", "name"]).await?;
        let left: Vec<&str> = left.lines().filter(|name| name.contains("kube-devops")).collect();
        assert_eq!(left, Vec::<&str>::new());
        for namespace in [shop.name(), "kube-devops"] {
            release.kubectl(&["delete", "namespace", namespace, "--timeout=120s"]).await?;
        }
        Ok(())
    })
}
