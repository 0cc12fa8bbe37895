//! The kinds that describe pods: each place of each kind is found, and pods that run to completion need no probes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use end_to_end::{Folder, Ran, kube_devops, root, run};
use kube_devops_core::workload::{Lifetime, WORKLOADS, Workload};
use serde_json::Value;

/// In these manifests `POD(name)` stands for a pod template with one container of that name, and `C(name)` for a container.
const MANIFESTS: &[(&str, &str, &str, &[&str])] = &[
    ("v1", "Pod", "spec: {containers: [C(a)]}", &["a"]),
    ("v1", "ReplicationController", "spec: {replicas: 2, template: POD(a)}", &["a"]),
    ("v1", "PodTemplate", "template: POD(a)", &["a"]),
    ("apps/v1", "Deployment", "spec: {template: POD(a)}", &["a"]),
    ("apps/v1", "StatefulSet", "spec: {serviceName: s, template: POD(a)}", &["a"]),
    ("apps/v1", "DaemonSet", "spec: {template: POD(a)}", &["a"]),
    ("apps/v1", "ReplicaSet", "spec: {replicas: 1, template: POD(a)}", &["a"]),
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
        "spec:\n  entrypoint: main\n  templates:\n  - name: main\n    steps: [[{name: s, template: one}]]\n  - name: one\n    container: C(a)\n    initContainers: [C(b)]\n    sidecars: [C(c)]\n  - name: two\n    script: {name: d, image: 'd:latest', source: echo}\n  - name: three\n    containerSet: {containers: [C(e), C(f)]}",
        &["a", "b", "c", "d", "e", "f"],
    ),
    ("argoproj.io/v1alpha1", "WorkflowTemplate", "spec: {templates: [{name: one, container: C(a)}]}", &["a"]),
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
    ("tekton.dev/v1", "PipelineRun", "spec: {pipelineSpec: {tasks: [{name: t, taskSpec: {steps: [C(a)]}}]}}", &["a"]),
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
    // A kind that is not in the table, with a template where most have it.
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
fn each_place_of_each_kind_is_evaluated() {
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
fn each_kind_of_the_table_has_a_manifest() {
    for workload in WORKLOADS {
        let is_of = |(api_version, kind, ..): &(&str, &str, &str, &[&str])| {
            *kind == workload.kind && kube_devops_core::workload::group(api_version) == workload.group
        };
        assert!(MANIFESTS.iter().any(is_of), "{workload:?}");
    }
}

#[test]
fn a_template_of_openshift_has_the_default_values_of_its_parameters() {
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
    let shown = analyze(text, &[]).exits(0).stdout;
    assert!(shown.contains("Fleet sea/boats (example.com/v1) has containers"), "{shown}");
    assert!(shown.contains("objects without pods (Fleet 1, Service 1)"), "{shown}");
    let github = analyze(text, &["-o", "github"]).exits(0).stdout;
    assert!(github.starts_with("::warning file=") && github.contains(",line=5,title=not evaluated::Fleet"), "{github}");
    let junit = analyze(text, &["-o", "junit"]).exits(0).stdout;
    assert!(junit.contains("<skipped message=\"Fleet sea/boats"), "{junit}");
    let sarif = analyze(text, &["-o", "sarif"]).exits(0).json();
    let notification: &Value = &sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"][0];
    assert_eq!(notification["locations"][0]["physicalLocation"]["region"]["startLine"], 5);
    analyze(text, &["--fail-on-unknown"]).exits(2).complains(&["1 object of unknown kinds with containers"]);
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: d}\nspec: {versions: [{schema: {containers: [{image: x}]}}]}\n";
    analyze(definition, &["--fail-on-unknown"]).exits(0);
}

#[test]
fn argo_fills_in_its_own_placeholders() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: 'w-{{x}}'}\nspec:\n  templates:\n  - name: t\n    container: {image: '{{inputs.parameters.image}}'}\n";
    let report = analyze(text, &["-o", "json"]).exits(0).json();
    assert!(report["violations"][0]["message"].as_str().unwrap().contains("unresolved placeholder"), "{report}");
}

/// The manifests in `manifests/kinds` are as people write them. A comment `# latest: CONTAINER` is behind each image without a
/// version that must be found, and nothing else may be.
#[test]
fn manifests_as_people_write_them_are_evaluated() {
    let folder = root().join("tests/end-to-end/manifests/kinds");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let marked = text
            .lines()
            .zip(1_u64..)
            .filter_map(|(line, number)| Some((number, line.split_once("# latest: ")?.1.trim().to_owned())));
        let marked: BTreeSet<_> = marked.collect();
        let report = run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(&path)).exits(0).json();
        let found = report["violations"].as_array().unwrap().iter().filter(|found| found["check"] == "latest-tag");
        let found: BTreeSet<_> = found
            .map(|found| (found["source"]["line"].as_u64().unwrap(), found["container"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(found, marked, "{}", path.display());
        assert!(!marked.is_empty() && report["notEvaluated"] == Value::Array(Vec::new()), "{}", path.display());
        files += 1;
    }
    assert!(files >= 50, "{files}");
}
