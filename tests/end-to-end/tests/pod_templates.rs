//! The kinds with pod templates: each path of each kind is evaluated, and pods that run to completion need no probes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use end_to_end::{Folder, Ran, kube_devops, root, run};
use kube_devops_core::workload::{Lifetime, WORKLOADS, Workload};
use serde_json::{Value, json};

/// API version, kind, body and container names. `POD(name)` stands for a pod template with one container of that name, and
/// `C(name)` for a container.
const MANIFESTS: &[(&str, &str, &str, &[&str])] = &[
    ("v1", "Pod", "spec: {containers: [C(a)]}", &["a"]),
    ("v1", "ReplicationController", "spec: {replicas: 2, template: POD(a)}", &["a"]),
    ("v1", "PodTemplate", "template: POD(a)", &["a"]),
    ("apps/v1", "Deployment", "spec: {template: POD(a)}", &["a"]),
    ("apps/v1", "StatefulSet", "spec: {serviceName: s, template: POD(a)}", &["a"]),
    ("apps/v1", "DaemonSet", "spec: {template: POD(a)}", &["a"]),
    ("apps/v1", "ReplicaSet", "spec: {replicas: 1, template: POD(a)}", &["a"]),
    ("apps/v1", "ControllerRevision", "data: {spec: {template: POD(a)}}", &["a"]),
    ("extensions/v1beta1", "Deployment", "spec: {template: POD(a)}", &["a"]),
    ("extensions/v1beta1", "DaemonSet", "spec: {template: POD(a)}", &["a"]),
    ("extensions/v1beta1", "ReplicaSet", "spec: {template: POD(a)}", &["a"]),
    ("batch/v1", "Job", "spec: {template: POD(a)}", &["a"]),
    ("batch/v1", "CronJob", "spec: {schedule: '* * * * *', jobTemplate: {spec: {template: POD(a)}}}", &["a"]),
    (
        "admission.k8s.io/v1",
        "AdmissionReview",
        "request:\n  uid: u\n  object: {apiVersion: v1, kind: Pod, metadata: {name: object}, spec: {containers: [C(a)]}}",
        &["a"],
    ),
    ("apps.openshift.io/v1", "DeploymentConfig", "spec: {template: POD(a), triggers: [{type: ConfigChange}]}", &["a"]),
    ("argoproj.io/v1alpha1", "Rollout", "spec: {strategy: {canary: {}}, template: POD(a)}", &["a"]),
    (
        "argoproj.io/v1alpha1",
        "AnalysisTemplate",
        "spec: {metrics: [{name: m, provider: {job: {spec: {template: POD(a)}}}}, {name: n, provider: {web: {url: u}}}]}",
        &["a"],
    ),
    (
        "argoproj.io/v1alpha1",
        "ClusterAnalysisTemplate",
        "spec: {metrics: [{name: m, provider: {job: {spec: {template: POD(a)}}}}]}",
        &["a"],
    ),
    (
        "argoproj.io/v1alpha1",
        "AnalysisRun",
        "spec: {metrics: [{name: m, provider: {job: {spec: {template: POD(a)}}}}]}",
        &["a"],
    ),
    (
        "argoproj.io/v1alpha1",
        "Workflow",
        "spec:\n  entrypoint: main\n  templates:\n  - name: main\n    steps: [[{name: s, template: one}]]\n  - name: one\n    container: C(a)\n    initContainers: [C(b)]\n    sidecars: [C(c)]\n  - name: two\n    script: {name: d, image: 'd:latest', source: echo}\n  - name: three\n    containerSet: {containers: [C(e)]}\n  - name: four\n    dag: {tasks: [{name: t, inline: {container: C(f)}}]}",
        &["a", "b", "c", "d", "e", "f"],
    ),
    (
        "argoproj.io/v1alpha1",
        "WorkflowTemplate",
        "spec: {templates: [{name: one, container: C(a)}, {name: two, steps: [[{name: s, inline: {container: C(b)}}]]}]}",
        &["a", "b"],
    ),
    ("argoproj.io/v1alpha1", "ClusterWorkflowTemplate", "spec: {templates: [{name: one, container: C(a)}]}", &["a"]),
    (
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "spec: {schedule: '* * * * *', workflowSpec: {templates: [{name: one, container: C(a)}]}}",
        &["a"],
    ),
    ("tekton.dev/v1", "Task", "spec: {steps: [C(a), {name: r, ref: {name: shared}}], sidecars: [C(b)]}", &["a", "b"]),
    (
        "tekton.dev/v1beta1",
        "ClusterTask",
        "spec: {stepTemplate: {image: 'x:latest'}, steps: [{name: a, script: echo}]}",
        &["a"],
    ),
    ("tekton.dev/v1", "TaskRun", "spec: {taskSpec: {steps: [C(a)]}}", &["a"]),
    (
        "tekton.dev/v1",
        "Pipeline",
        "spec: {tasks: [{name: t, taskSpec: {steps: [C(a)]}}, {name: u, taskRef: {name: v}}], finally: [{name: f, taskSpec: {steps: [C(b)]}}]}",
        &["a", "b"],
    ),
    (
        "tekton.dev/v1",
        "PipelineRun",
        "spec: {pipelineSpec: {tasks: [{name: t, taskSpec: {steps: [C(a)]}}, {name: u, pipelineSpec: {finally: [{name: f, taskSpec: {steps: [C(b)]}}]}}]}}",
        &["a", "b"],
    ),
    ("tekton.dev/v1beta1", "StepAction", "spec: {image: 'x:latest', script: echo}", &["spec"]),
    (
        "serving.knative.dev/v1",
        "Service",
        "spec: {template: {spec: {containers: [{image: 'x:latest'}]}}}",
        &["containers[0]"],
    ),
    ("serving.knative.dev/v1", "Configuration", "spec: {template: POD(a)}", &["a"]),
    ("serving.knative.dev/v1", "Revision", "spec: {containers: [C(a)]}", &["a"]),
    (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        "spec: {replicatedJobs: [{name: l, template: {spec: {template: POD(a)}}}, {name: w, template: {spec: {template: POD(b)}}}]}",
        &["a", "b"],
    ),
    (
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        "spec: {replicas: 2, leaderWorkerTemplate: {size: 4, leaderTemplate: POD(a), workerTemplate: POD(b)}}",
        &["a", "b"],
    ),
    (
        "kubeflow.org/v1",
        "TFJob",
        "spec: {tfReplicaSpecs: {PS: {template: POD(a)}, Worker: {template: POD(b)}}}",
        &["a", "b"],
    ),
    (
        "kubeflow.org/v1",
        "PyTorchJob",
        "spec: {pytorchReplicaSpecs: {Master: {template: POD(a)}, Worker: {template: POD(b)}}}",
        &["a", "b"],
    ),
    ("kubeflow.org/v1", "XGBoostJob", "spec: {xgbReplicaSpecs: {Master: {template: POD(a)}}}", &["a"]),
    (
        "kubeflow.org/v2beta1",
        "MPIJob",
        "spec: {mpiReplicaSpecs: {Launcher: {template: POD(a)}, Worker: {template: POD(b)}}}",
        &["a", "b"],
    ),
    ("kubeflow.org/v1", "MXJob", "spec: {mxReplicaSpecs: {Worker: {template: POD(a)}}}", &["a"]),
    ("kubeflow.org/v1", "PaddleJob", "spec: {paddleReplicaSpecs: {Worker: {template: POD(a)}}}", &["a"]),
    ("kubeflow.org/v1", "JAXJob", "spec: {jaxReplicaSpecs: {Worker: {template: POD(a)}}}", &["a"]),
    ("kubeflow.org/v1", "Notebook", "spec: {template: POD(a)}", &["a"]),
    (
        "trainer.kubeflow.org/v1alpha1",
        "TrainingRuntime",
        "spec: {template: {spec: {replicatedJobs: [{name: node, template: {spec: {template: POD(a)}}}]}}}",
        &["a"],
    ),
    (
        "trainer.kubeflow.org/v1alpha1",
        "ClusterTrainingRuntime",
        "spec: {template: {spec: {replicatedJobs: [{name: node, template: {spec: {template: POD(a)}}}]}}}",
        &["a"],
    ),
    (
        "ray.io/v1",
        "RayCluster",
        "spec: {headGroupSpec: {template: POD(a)}, workerGroupSpecs: [{groupName: g, template: POD(b)}]}",
        &["a", "b"],
    ),
    (
        "ray.io/v1",
        "RayJob",
        "spec: {rayClusterSpec: {headGroupSpec: {template: POD(a)}, workerGroupSpecs: [{template: POD(b)}]}, submitterPodTemplate: POD(c)}",
        &["a", "b", "c"],
    ),
    (
        "ray.io/v1",
        "RayService",
        "spec: {rayClusterConfig: {headGroupSpec: {template: POD(a)}, workerGroupSpecs: [{template: POD(b)}]}}",
        &["a", "b"],
    ),
    (
        "batch.volcano.sh/v1alpha1",
        "Job",
        "spec: {tasks: [{name: m, template: POD(a)}, {name: w, template: POD(b)}]}",
        &["a", "b"],
    ),
    ("batch.volcano.sh/v1alpha1", "CronJob", "spec: {jobTemplate: {spec: {tasks: [{template: POD(a)}]}}}", &["a"]),
    ("flow.volcano.sh/v1alpha1", "JobTemplate", "spec: {tasks: [{template: POD(a)}]}", &["a"]),
    ("apps.kruise.io/v1alpha1", "CloneSet", "spec: {template: POD(a)}", &["a"]),
    ("apps.kruise.io/v1beta1", "StatefulSet", "spec: {template: POD(a)}", &["a"]),
    ("apps.kruise.io/v1alpha1", "DaemonSet", "spec: {template: POD(a)}", &["a"]),
    ("apps.kruise.io/v1alpha1", "BroadcastJob", "spec: {template: POD(a)}", &["a"]),
    (
        "apps.kruise.io/v1alpha1",
        "AdvancedCronJob",
        "spec: {template: {broadcastJobTemplate: {spec: {template: POD(a)}}}}",
        &["a"],
    ),
    (
        "apps.kruise.io/v1alpha1",
        "UnitedDeployment",
        "spec: {template: {cloneSetTemplate: {spec: {template: POD(a)}}}}",
        &["a"],
    ),
    ("apps.kruise.io/v1alpha1", "SidecarSet", "spec: {containers: [C(a)], initContainers: [C(b)]}", &["a", "b"]),
    ("keda.sh/v1alpha1", "ScaledJob", "spec: {jobTargetRef: {template: POD(a)}}", &["a"]),
    ("argoproj.io/v1alpha1", "Experiment", "spec: {templates: [{name: t, template: POD(a)}]}", &["a"]),
    (
        "argoproj.io/v1alpha1",
        "Sensor",
        "spec:\n  triggers: [{template: {k8s: {source: {resource: {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}}}}}]",
        &["a"],
    ),
    (
        "triggers.tekton.dev/v1beta1",
        "TriggerTemplate",
        "spec:\n  resourcetemplates: [{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {generateName: t-}, spec: {taskSpec: {steps: [C(a)]}}}]",
        &["a"],
    ),
    (
        "triggers.tekton.dev/v1beta1",
        "Trigger",
        "spec:\n  template: {spec: {resourcetemplates: [{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {generateName: t-}, spec: {taskSpec: {steps: [C(a)]}}}]}}",
        &["a"],
    ),
    (
        "triggers.tekton.dev/v1beta1",
        "EventListener",
        "spec:\n  triggers: [{template: {spec: {resourcetemplates: [{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {generateName: t-}, spec: {taskSpec: {steps: [C(a)]}}}]}}}]",
        &["a"],
    ),
    (
        "operators.coreos.com/v1alpha1",
        "ClusterServiceVersion",
        "spec: {install: {spec: {deployments: [{name: d, spec: {template: POD(a)}}]}}}",
        &["a"],
    ),
    (
        "kubernetes.crossplane.io/v1alpha2",
        "Object",
        "spec:\n  forProvider: {manifest: {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}}",
        &["a"],
    ),
    (
        "kubernetes.m.crossplane.io/v1alpha1",
        "Object",
        "spec:\n  forProvider: {manifest: {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}}",
        &["a"],
    ),
    (
        "work.open-cluster-management.io/v1",
        "ManifestWork",
        "spec:\n  workload: {manifests: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}]}",
        &["a"],
    ),
    (
        "work.open-cluster-management.io/v1alpha1",
        "ManifestWorkReplicaSet",
        "spec:\n  manifestWorkTemplate: {workload: {manifests: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}]}}",
        &["a"],
    ),
    (
        "work.karmada.io/v1alpha1",
        "Work",
        "spec:\n  workload: {manifests: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: POD(a)}}]}",
        &["a"],
    ),
    // A kind that is not in the table, with its template at the usual path.
    ("example.com/v1", "Machine", "spec: {template: POD(a)}", &["a"]),
];

fn manifest(api_version: &str, kind: &str, body: &str) -> String {
    let mut text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: object}}\n{body}\n");
    for name in ["a", "b", "c", "d", "e", "f"] {
        let container = format!("{{name: {name}, image: '{name}:latest'}}");
        text = text.replace(&format!("POD({name})"), &format!("{{spec: {{containers: [{container}]}}}}"));
        text = text.replace(&format!("C({name})"), &container);
    }
    text
}

fn analyze(text: &str, arguments: &[&str]) -> Ran {
    let folder = Folder::with([("manifest.yaml", text)]);
    run(kube_devops().args(["analyze", "-f"]).arg(folder.path().join("manifest.yaml")).args(arguments))
}

fn containers(ran: &Ran, check: &str) -> BTreeSet<String> {
    let report = ran.json();
    let found = report["violations"].as_array().unwrap().iter().filter(|found| found["check"] == check);
    found.map(|found| found["container"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_template_path_of_every_kind_is_evaluated() {
    for (api_version, kind, body, expected) in MANIFESTS {
        let ran = analyze(&manifest(api_version, kind, body), &["-o", "json"]);
        assert_eq!(ran.errors(), [] as [String; 0], "{api_version} {kind}");
        let expected: BTreeSet<_> = expected.iter().map(|name| name.to_string()).collect();
        assert_eq!(containers(&ran, "latest-tag"), expected, "{kind}");
        for found in ran.json()["violations"].as_array().unwrap() {
            let line = found["source"]["line"].as_u64().unwrap();
            assert!(line > 3, "{kind}: the line of the object, not of the container: {found}");
        }
        let completes =
            Workload::find(api_version, kind).is_some_and(|workload| workload.lifetime == Lifetime::ToCompletion);
        assert_eq!(containers(&ran, "missing-liveness").is_empty(), completes, "{kind}");
    }
}

#[test]
fn every_kind_of_the_table_has_an_inline_manifest() {
    for workload in WORKLOADS {
        let is_of = |(api_version, kind, ..): &(&str, &str, &str, &[&str])| {
            *kind == workload.kind && kube_devops_core::workload::group(api_version) == workload.group
        };
        assert!(MANIFESTS.iter().any(is_of), "{workload:?}");
    }
}

#[test]
fn openshift_templates_are_evaluated_with_default_parameters() {
    let text = "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: t}\nparameters:\n- {name: NAME, value: shop}\n- {name: TAG, value: latest}\n- {name: REPLICAS, value: '3'}\n- {name: PORT, value: '8080'}\n- {name: SECRET, generate: expression}\nobjects:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: '${NAME}-web'}\n  spec:\n    replicas: ${{REPLICAS}}\n    template:\n      spec:\n        containers:\n        - name: a\n          image: reg.example.org/${NAME}:${TAG}\n          ports: [{containerPort: '${{PORT}}'}]\n        - name: b\n          image: reg.example.org/b:${SECRET}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: s}\n";
    let report =
        analyze(&text.replace("replicas: ${{REPLICAS}}", "replicas: '${{REPLICAS}}'"), &["-o", "json"]).exits(0).json();
    let images: Vec<_> =
        report["violations"].as_array().unwrap().iter().filter(|found| found["check"] == "latest-tag").collect();
    assert_eq!(images[0]["name"], "shop-web");
    assert_eq!(images[0]["message"], "image reg.example.org/shop:latest uses the tag latest");
    assert!(images[1]["message"].as_str().unwrap().contains("unresolved placeholder ${SECRET}"), "{}", images[1]);
    assert_eq!(report["ignored"]["Service"], 1);
}

#[test]
fn objects_of_unknown_kinds_with_containers_are_reported_in_every_format() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: example.com/v1\nkind: Fleet\nmetadata: {name: boats, namespace: sea}\nspec:\n  groups:\n  - pods:\n      containers:\n      - image: boat:latest\n";
    let report = analyze(text, &["-o", "json"]).exits(0).json();
    let object = &report["notEvaluated"][0];
    assert_eq!(
        (&object["kind"], &object["name"], &object["namespace"]),
        (&"Fleet".into(), &"boats".into(), &"sea".into())
    );
    assert_eq!(object["source"]["line"], 5);
    let stdout = analyze(text, &[]).exits(0).stdout;
    assert!(stdout.contains("Fleet sea/boats (example.com/v1) has containers"), "{stdout}");
    assert!(stdout.contains("other objects (Fleet 1, Service 1)"), "{stdout}");
    let github = analyze(text, &["-o", "github"]).exits(0).stdout;
    assert!(github.starts_with("::warning file=") && github.contains(",line=5,title=not evaluated::Fleet"), "{github}");
    let junit = analyze(text, &["-o", "junit"]).exits(0).stdout;
    assert!(junit.contains("<skipped message=\"Fleet sea/boats"), "{junit}");
    let sarif = analyze(text, &["-o", "sarif"]).exits(0).json();
    let notification: &Value = &sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"][0];
    assert_eq!(notification["locations"][0]["physicalLocation"]["region"]["startLine"], 5);
    analyze(text, &["--fail-on-unknown"]).exits(2).complains(&["1 object with containers that were not evaluated"]);
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: d}\nspec: {versions: [{schema: {containers: [{image: x}]}}]}\n";
    analyze(definition, &["--fail-on-unknown"]).exits(0);
}

#[test]
fn argo_placeholders_in_images_are_violations_and_no_errors() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: 'w-{{x}}'}\nspec:\n  templates:\n  - name: t\n    container: {image: '{{inputs.parameters.image}}'}\n";
    let report = analyze(text, &["-o", "json"]).exits(0).json();
    assert!(report["violations"][0]["message"].as_str().unwrap().contains("unresolved placeholder"), "{report}");
}

/// Returns the path of the manifest of a kind in `manifests/kinds`, adapted from the documentation of the kind.
fn kind_file(workload: &Workload) -> PathBuf {
    let group = if workload.group.is_empty() { "core" } else { workload.group };
    root().join("tests/end-to-end/manifests/kinds").join(format!("{}-{group}.yaml", workload.kind))
}

/// Returns line and container of each marker `# latest: CONTAINER` in a manifest.
fn marked(text: &str) -> Vec<(u64, String)> {
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| Some((number, line.split_once("# latest: ")?.1.to_owned()))).collect()
}

/// Returns line and container of the violations of a check, sorted by line.
fn found(report: &Value, check: &str) -> Vec<(u64, String)> {
    let violations = report["violations"].as_array().unwrap().iter().filter(|violation| violation["check"] == check);
    let mut found: Vec<_> = violations
        .map(|violation| {
            (violation["source"]["line"].as_u64().unwrap(), violation["container"].as_str().unwrap().to_owned())
        })
        .collect();
    found.sort_unstable();
    found
}

/// Returns the values at a path of the table.
fn at<'v>(value: &'v Value, path: &[&str]) -> Vec<&'v Value> {
    match (path, value) {
        ([] | [""], _) => vec![value],
        (["*", rest @ ..], Value::Array(items)) => items.iter().flat_map(|item| at(item, rest)).collect(),
        (["*", rest @ ..], Value::Object(items)) => items.values().flat_map(|item| at(item, rest)).collect(),
        ([key, rest @ ..], _) => value.get(key).map(|item| at(item, rest)).unwrap_or_default(),
    }
}

#[test]
fn every_kind_of_the_table_has_a_manifest_file() {
    for workload in WORKLOADS {
        let file = kind_file(workload);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let documents: Vec<Value> = text.split("\n---\n").map(|text| serde_norway::from_str(text).unwrap()).collect();
        for object in &documents {
            let api_version = object["apiVersion"].as_str().unwrap();
            assert_eq!(Workload::find(api_version, object["kind"].as_str().unwrap()), Some(workload), "{file:?}");
        }
        for template in workload.templates {
            let path: Vec<_> = template.path.split('.').collect();
            let is_there = documents.iter().any(|object| !at(object, &path).is_empty());
            assert!(is_there, "{} has no value at {}", file.display(), template.path);
        }
    }
    let folder = root().join("tests/end-to-end/manifests/kinds");
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        WORKLOADS.len(),
        "a manifest has a kind that is not in the table"
    );
}

#[test]
fn violations_of_every_kind_name_the_line_of_the_image() {
    for workload in WORKLOADS {
        let file = kind_file(workload);
        let marked = marked(&fs::read_to_string(&file).unwrap());
        let ran = run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(&file)).exits(0);
        let report = ran.is_quiet().json();
        assert_eq!(found(&report, "latest-tag"), marked, "{}", file.display());
        assert_eq!((&report["notEvaluated"], &report["ignored"]), (&json!([]), &json!({})), "{}", file.display());
        let marked: BTreeSet<_> = marked.into_iter().map(|(_, name)| name).collect();
        for check in ["missing-liveness", "missing-readiness"] {
            let without: BTreeSet<_> = found(&report, check).into_iter().map(|(_, name)| name).collect();
            // Init containers need no probes, and the containers named `proxy` have a fixed tag.
            let expected: BTreeSet<_> = match workload.lifetime {
                Lifetime::ToCompletion => BTreeSet::new(),
                _ => marked.iter().filter(|name| !name.starts_with("init-")).cloned().collect(),
            };
            let without: BTreeSet<_> = without.into_iter().filter(|name| name != "proxy").collect();
            assert_eq!(without, expected, "{check} of {}", file.display());
        }
    }
}

#[test]
fn openshift_parameters_are_substituted_with_their_type() {
    let text = r#"apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: shop}
parameters:
- {name: NAME, value: shop, required: true}
- {name: IMAGE, value: "reg.example.org/shop:latest"}
- {name: REPLICAS, value: "0"}
- {name: PORT, value: "8080"}
- {name: TAG}
objects:
- apiVersion: apps/v1
  kind: ReplicaSet
  metadata: {name: earlier}
  spec:
    replicas: ${{REPLICAS}}
    template: {spec: {containers: [{name: c, image: "c:latest"}]}}
- apiVersion: apps.openshift.io/v1
  kind: DeploymentConfig
  metadata: {name: "${NAME}-${NAME}"}
  spec:
    replicas: ${{REPLICAS}}
    template:
      spec:
        containers:
        - name: web
          image: ${IMAGE}
          ports:
          - containerPort: ${{PORT}}
        - name: side
          image: reg.example.org/side:${TAG}
        - name: other
          image: reg.example.org/other:${UNDECLARED}
"#;
    let report = analyze(text, &["-o", "json"]).exits(0).json();
    let expected = [(26, "web"), (30, "side"), (32, "other")].map(|(line, name)| (line, name.to_owned()));
    assert_eq!(found(&report, "latest-tag"), expected);
    assert_eq!((&report["subjects"], &report["scaledToZero"]), (&json!(1), &json!(1)));
    let messages: Vec<_> = messages(&report, "latest-tag");
    assert_eq!(report["violations"][0]["name"], "shop-shop");
    for part in [
        "reg.example.org/shop:latest uses the tag latest",
        "unresolved placeholder ${TAG}",
        "unresolved placeholder ${UNDECLARED}",
    ] {
        assert!(messages.iter().any(|message| message.contains(part)), "{part}: {messages:?}");
    }
    // A value of the wrong type is an error at the field that uses it.
    for (value, part) in [("value: http", "not the string \"http\""), ("description: x", "replace the placeholder")] {
        let text = text.replace("PORT, value: \"8080\"", &format!("PORT, {value}"));
        let ran = analyze(&text, &["-o", "json"]).exits(2);
        let errors = ran.errors();
        assert!(errors.len() == 1 && errors[0].contains(":28: ") && errors[0].contains(part), "{errors:?}");
    }
}

fn messages(report: &Value, check: &str) -> Vec<String> {
    let violations = report["violations"].as_array().unwrap().iter().filter(|violation| violation["check"] == check);
    violations.map(|violation| violation["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_deployment_config_needs_an_image_without_an_image_trigger() {
    let without = "apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig\nmetadata: {name: dc}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: ' '\n";
    let report = analyze(without, &["-o", "json"]).exits(0).json();
    assert_eq!(found(&report, "latest-tag"), [(9, "web".to_owned())]);
    assert_eq!(messages(&report, "latest-tag"), ["no image is given"]);
    let trigger = "  triggers:\n  - type: ImageChange\n    imageChangeParams: {automatic: true, containerNames: [web], from: {kind: ImageStreamTag, name: 'web:latest'}}\n";
    let report = analyze(&format!("{without}{trigger}"), &["-o", "json"]).exits(0).json();
    assert_eq!(found(&report, "latest-tag"), []);
    assert_eq!(found(&report, "missing-liveness"), [(8, "web".to_owned())]);
    for other in ["containerNames: [side]", "containerNames: []"] {
        let text = format!("{without}{trigger}").replace("containerNames: [web]", other);
        assert_eq!(found(&analyze(&text, &["-o", "json"]).exits(0).json(), "latest-tag").len(), 1, "{other}");
    }
}

#[test]
fn tekton_steps_inherit_images_from_references_and_templates() {
    let steps = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec:\n  steps:\n  - name: shared\n    ref: {name: git-clone}\n  - name: own\n    image: own:1\n  - name: script\n    script: echo\n";
    let report = analyze(steps, &["-o", "json"]).exits(0).json();
    assert_eq!(found(&report, "latest-tag"), [(10, "script".to_owned())]);
    let common = |image: &str| {
        analyze(&format!("{steps}  stepTemplate: {{image: '{image}'}}\n"), &["-o", "json"]).exits(0).json()
    };
    assert_eq!(found(&common("go:latest"), "latest-tag"), [(10, "script".to_owned())]);
    assert_eq!(found(&common("go:1.26"), "latest-tag"), []);
    let only = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec: {steps: [{name: s, ref: {name: git-clone}}]}\n";
    let report = analyze(only, &["-o", "json"]).exits(0).json();
    assert_eq!((&report["subjects"], &report["notEvaluated"], &report["errors"]), (&json!(0), &json!([]), &json!([])));
}

#[test]
fn violations_of_argo_placeholders_name_the_line_of_the_image() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: w}\nspec:\n  templates:\n  - name: t\n    inputs: {parameters: [{name: image}]}\n    container:\n      image: '{{inputs.parameters.image}}'\n";
    let report = analyze(text, &["-o", "json"]).exits(0).json();
    assert_eq!(found(&report, "latest-tag"), [(9, "container".to_owned())]);
    assert!(
        messages(&report, "latest-tag")[0].contains("unresolved placeholder {{inputs.parameters.image}}"),
        "{report}"
    );
}

#[test]
fn an_unknown_kind_is_evaluated_if_its_template_is_at_the_usual_path() {
    let object =
        |spec: &str| format!("apiVersion: example.com/v1\nkind: Machine\nmetadata: {{name: m}}\nspec:\n  {spec}\n");
    let template = "template: {spec: {containers: [{name: a, image: 'a:latest'}]}}";
    for spec in [template.to_owned(), format!("jobTemplate: {{spec: {{{template}}}}}")] {
        let report = analyze(&object(&spec), &["-o", "json", "--fail-on-unknown"]).exits(0).json();
        assert_eq!(found(&report, "latest-tag"), [(5, "a".to_owned())]);
        assert_eq!((&report["subjects"], &report["notEvaluated"]), (&json!(1), &json!([])));
    }
    let both = object(&format!("{template}\n  worker: {{spec: {{containers: [{{name: b, image: 'b:latest'}}]}}}}"));
    let report = analyze(&both, &["-o", "json"]).exits(0).json();
    assert_eq!((&report["subjects"], &report["notEvaluated"][0]["name"]), (&json!(1), &json!("m")));
    analyze(&both, &["--fail-on-unknown"]).exits(2).complains(&["1 object with containers that were not evaluated"]);
    let elsewhere = object("pods: [{containers: [{name: a, image: 'a:latest'}]}]");
    let report = analyze(&elsewhere, &["-o", "json"]).exits(0).json();
    let source = &report["notEvaluated"][0]["source"];
    assert!(source["file"].as_str().unwrap().ends_with("manifest.yaml"), "{source}");
    assert_eq!((&source["line"], &source["document"], &report["score"]), (&json!(1), &json!(1), &Value::Null));
    analyze(&elsewhere, &["-o", "json", "--fail-on-unknown"]).exits(2);
    // Containers without images are not pod containers.
    let report =
        analyze(&object("containers: [{name: a, size: 20}]"), &["-o", "json", "--fail-on-unknown"]).exits(0).json();
    assert_eq!((&report["notEvaluated"], &report["ignored"]), (&json!([]), &json!({"Machine": 1})));
    let definition = r#"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: machines.example.com}
spec:
  group: example.com
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          spec:
            properties:
              containers:
                default: [{image: "a:latest"}]
                items: {properties: {image: {type: string}}}
"#;
    let report = analyze(definition, &["-o", "json", "--fail-on-unknown"]).exits(0).json();
    assert_eq!(report["notEvaluated"], json!([]));
}
