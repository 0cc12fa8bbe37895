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
