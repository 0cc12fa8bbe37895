//! The templates of Argo Workflows and Tekton.

use super::*;

/// Returns the name, the pointer and the line of each container.
fn containers(text: &str) -> Vec<(String, String, usize)> {
    let manifests = read_text(text);
    assert_eq!(manifests.errors, [], "{text}");
    let containers = manifests.subjects.iter().flat_map(|subject| {
        subject.containers.iter().map(move |container| {
            let pointer = format!("{}{}", subject.spec_pointer, container.pointer());
            let line = line_of(subject, &pointer);
            (container.name.to_string(), pointer, line)
        })
    });
    containers.collect()
}

#[test]
fn inline_templates_of_tasks_and_steps_are_evaluated() {
    const SPEC: &str = "templates:
- name: graph
  dag:
    tasks:
    - {name: a, template: other}
    - name: b
      inline:
        container: {name: in-task, image: 'a:1'}
        sidecars:
        - {name: sidecar, image: 'a:1'}
- name: sequence
  steps:
  - - name: a
      inline: {containerSet: {containers: [{name: in-set, image: 'a:1'}]}}
  - - {name: b, template: other}
    - name: c
      inline:
        script: {name: in-step, image: 'a:1'}
";
    for (kind, prefix) in [
        ("Workflow", "spec"),
        ("WorkflowTemplate", "spec"),
        ("ClusterWorkflowTemplate", "spec"),
        ("CronWorkflow", "spec/workflowSpec"),
    ] {
        let (above, indent) = if kind == "CronWorkflow" { ("spec:\n  workflowSpec:\n", 4) } else { ("spec:\n", 2) };
        let spec: String = SPEC.lines().map(|line| format!("{:indent$}{line}\n", "")).collect();
        let text = format!("apiVersion: argoproj.io/v1alpha1\nkind: {kind}\nmetadata: {{name: w}}\n{above}{spec}");
        let first = 4 + above.lines().count();
        let graph = format!("/{prefix}/templates/0/dag/tasks/1/inline");
        let sequence = format!("/{prefix}/templates/1/steps");
        let expected = [
            ("in-task", format!("{graph}/container"), first + 7),
            ("sidecar", format!("{graph}/sidecars/0"), first + 9),
            ("in-set", format!("{sequence}/0/0/inline/containerSet/containers/0"), first + 13),
            ("in-step", format!("{sequence}/1/1/inline/script"), first + 17),
        ];
        let expected: Vec<_> = expected.map(|(name, pointer, line)| (name.to_owned(), pointer, line)).into();
        assert_eq!(containers(&text), expected, "{kind}");
    }
}

#[test]
fn the_tasks_of_tekton_pipelines_are_evaluated() {
    const TASKS: &str = "tasks: [{name: a, taskSpec: {steps: [{name: s, image: 'a:1'}], sidecars: [{name: c, image: 'a:1'}]}}, {name: b, taskRef: {name: r}}], finally: [{name: f, taskSpec: {steps: [{name: t, image: 'a:1'}]}}]";
    for (kind, spec) in
        [("Pipeline", format!("{{{TASKS}}}")), ("PipelineRun", format!("{{pipelineSpec: {{{TASKS}}}}}"))]
    {
        let text = format!("apiVersion: tekton.dev/v1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {spec}\n");
        let names: Vec<_> = containers(&text).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["s", "c", "t"], "{kind}");
    }
}

#[test]
fn the_tasks_of_pipelines_in_pipelines_are_evaluated() {
    let task = |name: &str| format!("taskSpec: {{steps: [{{name: {name}, image: 'a:1'}}]}}");
    let inner = format!("{{tasks: [{{name: a, {}}}], finally: [{{name: b, {}}}]}}", task("inner"), task("inner-last"));
    let nested = format!("{{tasks: [{{name: c, pipelineSpec: {inner}}}, {{name: d, {}}}]}}", task("nested"));
    let outer = format!(
        "{{tasks: [{{name: e, pipelineSpec: {nested}}}], finally: [{{name: f, pipelineSpec: {inner}}}, {{name: g, {}}}]}}",
        task("last")
    );
    for (kind, prefix, spec) in [
        ("Pipeline", "/spec", outer.clone()),
        ("PipelineRun", "/spec/pipelineSpec", format!("{{pipelineSpec: {outer}}}")),
    ] {
        let text = format!("apiVersion: tekton.dev/v1\nkind: {kind}\nmetadata: {{name: p}}\nspec:\n  {spec}\n");
        let found = containers(&text);
        let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["inner", "inner-last", "nested", "inner", "inner-last", "last"], "{kind}");
        let at = "/tasks/0/pipelineSpec/tasks/0/pipelineSpec/finally/0/taskSpec/steps/0";
        assert_eq!((found[1].1.as_str(), found[1].2), (format!("{prefix}{at}").as_str(), 5), "{kind}");
    }
}

const WORKFLOW: &str = "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {generateName: w-}, spec: {templates: [{name: t, container: {name: c, image: 'a:1'}}]}}";
const TASK_RUN: &str = "{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {generateName: t-}, spec: {taskSpec: {steps: [{name: c, image: 'a:1'}]}}}";
const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {spec: {containers: [{name: c, image: 'a:1'}]}}}}";

/// Returns the kinds of the subjects and of the reported objects, and the numbers of the ignored ones.
fn kinds(api_version: &str, kind: &str, spec: &str) -> (Vec<String>, Vec<String>, usize) {
    let manifests =
        read_text(format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: w}}\nspec:\n  {spec}\n"));
    assert_eq!(manifests.errors, [], "{kind} {spec}");
    let evaluated = manifests.subjects.iter().map(|subject| subject.kind.to_string()).collect();
    let reported = manifests.extent.not_evaluated.iter().map(|object| object.kind.clone()).collect();
    (evaluated, reported, manifests.extent.ignored.values().sum())
}

#[test]
fn objects_within_objects_are_evaluated_by_their_kinds() {
    for (api_version, kind, before, after) in [
        ("argoproj.io/v1alpha1", "Sensor", "{triggers: [{template: {k8s: {source: {resource: ", "}}}}]}"),
        ("argoproj.io/v1alpha1", "Sensor", "{triggers: [{template: {argoWorkflow: {source: {resource: ", "}}}}]}"),
        ("triggers.tekton.dev/v1beta1", "TriggerTemplate", "{resourcetemplates: [", "]}"),
        ("triggers.tekton.dev/v1beta1", "Trigger", "{template: {spec: {resourcetemplates: [", "]}}}"),
        (
            "triggers.tekton.dev/v1beta1",
            "EventListener",
            "{triggers: [{template: {spec: {resourcetemplates: [",
            "]}}}]}",
        ),
        ("kubernetes.crossplane.io/v1alpha2", "Object", "{forProvider: {manifest: ", "}}"),
        ("kubernetes.m.crossplane.io/v1alpha1", "Object", "{forProvider: {manifest: ", "}}"),
        ("work.open-cluster-management.io/v1", "ManifestWork", "{workload: {manifests: [", "]}}"),
        (
            "work.open-cluster-management.io/v1alpha1",
            "ManifestWorkReplicaSet",
            "{manifestWorkTemplate: {workload: {manifests: [",
            "]}}}",
        ),
        ("work.karmada.io/v1alpha1", "Work", "{workload: {manifests: [", "]}}"),
    ] {
        let of = |object: &str| kinds(api_version, kind, &format!("{before}{object}{after}"));
        for (object, expected) in [(WORKFLOW, "Workflow"), (TASK_RUN, "TaskRun"), (DEPLOYMENT, "Deployment")] {
            assert_eq!(of(object), (vec![expected.to_owned()], vec![], 0), "{kind}");
        }
        let unknown = DEPLOYMENT
            .replace("apps/v1, kind: Deployment", "example.com/v1, kind: Other")
            .replace("spec: {template", "spec: {a");
        assert_eq!(of(&unknown), (vec![], vec!["Other".to_owned()], 1), "{kind}");
        // References and patches are no complete objects.
        for partial in [
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}",
            "{apiVersion: v1, kind: Pod, spec: {}}",
            "null",
        ] {
            assert_eq!(of(partial), (vec![], vec![], 1), "{kind}");
        }
    }
}

#[test]
fn the_pod_templates_of_experiments_and_operators_are_evaluated() {
    let template = "{spec: {containers: [{name: a, image: 'a:1'}]}}";
    for (api_version, kind, spec) in [
        ("argoproj.io/v1alpha1", "Experiment", format!("{{templates: [{{name: a, template: {template}}}]}}")),
        (
            "operators.coreos.com/v1alpha1",
            "ClusterServiceVersion",
            format!("{{install: {{spec: {{deployments: [{{name: a, spec: {{template: {template}}}}}]}}}}}}"),
        ),
    ] {
        assert_eq!(kinds(api_version, kind, &spec), (vec![kind.to_owned()], vec![], 0));
    }
}

#[test]
fn other_containers_of_known_custom_kinds_are_reported() {
    let template = "{spec: {containers: [{name: a, image: 'a:1'}]}}";
    let other = "other: {containers: [{name: b, image: 'b:1'}]}";
    for (api_version, kind, spec, count) in [
        ("argoproj.io/v1alpha1", "Rollout", format!("{{template: {template}, {other}}}"), 1),
        (
            "argoproj.io/v1alpha1",
            "Workflow",
            format!(
                "{{templates: [{{name: t, container: {{image: a}}, dag: {{tasks: [{{inline: {{script: {{image: a}}}}}}]}}}}], {other}}}"
            ),
            2,
        ),
        (
            "tekton.dev/v1",
            "PipelineRun",
            format!("{{pipelineSpec: {{tasks: [{{taskSpec: {{steps: [{{image: a}}]}}}}]}}, {other}}}"),
            1,
        ),
        (
            "argoproj.io/v1alpha1",
            "Sensor",
            format!(
                "{{template: {{container: {{image: s}}}}, triggers: [{{template: {{k8s: {{source: {{resource: {DEPLOYMENT}}}}}}}}}]}}"
            ),
            1,
        ),
    ] {
        let (evaluated, reported, ignored) = kinds(api_version, kind, &spec);
        assert_eq!((evaluated.len(), reported, ignored), (count, vec![kind.to_owned()], 0), "{kind}");
    }
    let stored =
        "{templates: [{name: t, container: {image: a}}]}\nstatus: {storedTemplates: {t: {container: {image: a}}}}";
    assert_eq!(kinds("argoproj.io/v1alpha1", "Workflow", stored), (vec!["Workflow".to_owned()], vec![], 0));
    let reference = "{workflowTemplateRef: {name: t}}\nstatus: {storedWorkflowTemplateSpec: {templates: [{container: {image: a}}]}}";
    assert_eq!(kinds("argoproj.io/v1alpha1", "Workflow", reference), (vec![], vec![], 1));
    // The API server does not store other fields of built-in kinds.
    let deployment = kinds("apps/v1", "Deployment", &format!("{{template: {template}, {other}}}"));
    assert_eq!(deployment, (vec!["Deployment".to_owned()], vec![], 0));
}
