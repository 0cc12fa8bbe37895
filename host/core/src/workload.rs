//! The kinds that run pods: the locations of their pod templates, and the lifetime of their pods.
//!
//! This module is data and imports nothing. Group and kind together identify a workload: the `Job` of Volcano has only
//! the name of its kind in common with the `Job` of `batch`.

mod types;

pub use types::{Form, Lifetime, Template, Workload};
use types::{SPEC_TEMPLATE, argo_template, builtin, custom, object, pod_template, remediable};

/// The location of the pod template in workloads that create jobs.
const JOB_TEMPLATE: &[Template] = &[pod_template("spec.jobTemplate.spec.template")];

/// The locations for kinds that are not in the table: most custom workloads follow the built-in ones.
pub const USUAL_TEMPLATES: &[Template] = &[SPEC_TEMPLATE[0], JOB_TEMPLATE[0]];

/// The location of the template in a revision, from which the controllers of StatefulSets and DaemonSets create pods.
pub const REVISION_TEMPLATE: &[Template] = &[pod_template("data.spec.template")];

/// The locations that [`crate::object::Object`] can read.
pub const READ_TEMPLATES: &[Template] = &[SPEC_TEMPLATE[0], JOB_TEMPLATE[0], REVISION_TEMPLATE[0]];

const TEKTON_TASK: &[Template] = &[Template { path: "spec", form: Form::TektonTask }];

const ARGO_TEMPLATES: &[Template] = &[
    argo_template("spec.templates.*"),
    // An inline template cannot contain another one: https://argo-workflows.readthedocs.io/en/latest/inline-templates/
    argo_template("spec.templates.*.dag.tasks.*.inline"),
    argo_template("spec.templates.*.steps.*.*.inline"),
    argo_template("spec.templateDefaults"),
];

const ARGO_CRON_TEMPLATES: &[Template] = &[
    argo_template("spec.workflowSpec.templates.*"),
    argo_template("spec.workflowSpec.templates.*.dag.tasks.*.inline"),
    argo_template("spec.workflowSpec.templates.*.steps.*.*.inline"),
    argo_template("spec.workflowSpec.templateDefaults"),
];

const ARGO_METRIC_JOBS: &[Template] = &[pod_template("spec.metrics.*.provider.job.spec.template")];

const JOB_SET: &[Template] = &[pod_template("spec.replicatedJobs.*.template.spec.template")];

const TRAINING_RUNTIME: &[Template] = &[pod_template("spec.template.spec.replicatedJobs.*.template.spec.template")];

const RAY_CLUSTER: &[Template] =
    &[pod_template("spec.headGroupSpec.template"), pod_template("spec.workerGroupSpecs.*.template")];

const MANIFESTS: &[Template] = &[object("spec.workload.manifests.*")];

const CROSSPLANE_OBJECT: &[Template] = &[object("spec.forProvider.manifest")];

use Lifetime::{ByRestartPolicy, Forever, ToCompletion};

/// All known kinds that run pods.
pub const WORKLOADS: &[Workload] = &[
    builtin("", "Pod", "pods", &[pod_template("")], ByRestartPolicy),
    remediable("apps", "Deployment", "deployments"),
    remediable("apps", "StatefulSet", "statefulsets"),
    remediable("apps", "DaemonSet", "daemonsets"),
    builtin("apps", "ReplicaSet", "replicasets", SPEC_TEMPLATE, Forever),
    // Its data is that of its controller: one without containers is valid, unlike for the built-in workloads.
    custom("apps", "ControllerRevision", "controllerrevisions", REVISION_TEMPLATE, Forever),
    builtin("", "ReplicationController", "replicationcontrollers", SPEC_TEMPLATE, Forever),
    builtin("batch", "Job", "jobs", SPEC_TEMPLATE, ToCompletion),
    builtin("batch", "CronJob", "cronjobs", JOB_TEMPLATE, ToCompletion),
    builtin("", "PodTemplate", "podtemplates", &[pod_template("template")], ByRestartPolicy),
    // The API groups of the built-in workloads before Kubernetes 1.16, which old charts still use.
    builtin("extensions", "Deployment", "deployments", SPEC_TEMPLATE, Forever),
    builtin("extensions", "DaemonSet", "daemonsets", SPEC_TEMPLATE, Forever),
    builtin("extensions", "ReplicaSet", "replicasets", SPEC_TEMPLATE, Forever),
    custom("admission.k8s.io", "AdmissionReview", "", &[object("request.object")], ByRestartPolicy),
    // https://docs.openshift.com/container-platform/latest/rest_api/workloads_apis/deploymentconfig-apps-openshift-io-v1.html
    custom("apps.openshift.io", "DeploymentConfig", "deploymentconfigs", SPEC_TEMPLATE, Forever),
    // https://argo-rollouts.readthedocs.io/en/stable/features/specification/
    custom("argoproj.io", "Rollout", "rollouts", SPEC_TEMPLATE, Forever),
    custom("argoproj.io", "Experiment", "experiments", &[pod_template("spec.templates.*.template")], Forever),
    custom("argoproj.io", "AnalysisTemplate", "analysistemplates", ARGO_METRIC_JOBS, ToCompletion),
    custom("argoproj.io", "ClusterAnalysisTemplate", "clusteranalysistemplates", ARGO_METRIC_JOBS, ToCompletion),
    custom("argoproj.io", "AnalysisRun", "analysisruns", ARGO_METRIC_JOBS, ToCompletion),
    // https://argo-workflows.readthedocs.io/en/latest/fields/
    custom("argoproj.io", "Workflow", "workflows", ARGO_TEMPLATES, ToCompletion),
    custom("argoproj.io", "WorkflowTemplate", "workflowtemplates", ARGO_TEMPLATES, ToCompletion),
    custom("argoproj.io", "ClusterWorkflowTemplate", "clusterworkflowtemplates", ARGO_TEMPLATES, ToCompletion),
    custom("argoproj.io", "CronWorkflow", "cronworkflows", ARGO_CRON_TEMPLATES, ToCompletion),
    // https://argoproj.github.io/argo-events/APIs/
    custom(
        "argoproj.io",
        "Sensor",
        "sensors",
        &[
            object("spec.triggers.*.template.k8s.source.resource"),
            object("spec.triggers.*.template.argoWorkflow.source.resource"),
        ],
        ByRestartPolicy,
    ),
    // https://tekton.dev/docs/triggers/
    custom(
        "triggers.tekton.dev",
        "TriggerTemplate",
        "triggertemplates",
        &[object("spec.resourcetemplates.*")],
        ToCompletion,
    ),
    custom(
        "triggers.tekton.dev",
        "Trigger",
        "triggers",
        &[object("spec.template.spec.resourcetemplates.*")],
        ToCompletion,
    ),
    custom(
        "triggers.tekton.dev",
        "EventListener",
        "eventlisteners",
        &[object("spec.triggers.*.template.spec.resourcetemplates.*")],
        ToCompletion,
    ),
    // https://tekton.dev/docs/pipelines/
    custom("tekton.dev", "Task", "tasks", TEKTON_TASK, ToCompletion),
    custom("tekton.dev", "ClusterTask", "clustertasks", TEKTON_TASK, ToCompletion),
    custom(
        "tekton.dev",
        "TaskRun",
        "taskruns",
        &[Template { path: "spec.taskSpec", form: Form::TektonTask }],
        ToCompletion,
    ),
    custom(
        "tekton.dev",
        "Pipeline",
        "pipelines",
        &[Template { path: "spec", form: Form::TektonPipeline }],
        ToCompletion,
    ),
    custom(
        "tekton.dev",
        "PipelineRun",
        "pipelineruns",
        &[Template { path: "spec.pipelineSpec", form: Form::TektonPipeline }],
        ToCompletion,
    ),
    custom(
        "tekton.dev",
        "StepAction",
        "stepactions",
        &[Template { path: "spec", form: Form::TektonStep }],
        ToCompletion,
    ),
    // https://knative.dev/docs/serving/reference/serving-api/
    custom("serving.knative.dev", "Service", "services", SPEC_TEMPLATE, Forever),
    custom("serving.knative.dev", "Configuration", "configurations", SPEC_TEMPLATE, Forever),
    custom("serving.knative.dev", "Revision", "revisions", &[pod_template("")], Forever),
    // https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2/
    custom("jobset.x-k8s.io", "JobSet", "jobsets", JOB_SET, ToCompletion),
    // https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/
    custom(
        "leaderworkerset.x-k8s.io",
        "LeaderWorkerSet",
        "leaderworkersets",
        &[
            pod_template("spec.leaderWorkerTemplate.leaderTemplate"),
            pod_template("spec.leaderWorkerTemplate.workerTemplate"),
        ],
        Forever,
    ),
    // https://www.kubeflow.org/docs/components/trainer/legacy-v1/reference/training-operator-docs/
    custom("kubeflow.org", "TFJob", "tfjobs", &[pod_template("spec.tfReplicaSpecs.*.template")], ToCompletion),
    custom(
        "kubeflow.org",
        "PyTorchJob",
        "pytorchjobs",
        &[pod_template("spec.pytorchReplicaSpecs.*.template")],
        ToCompletion,
    ),
    custom(
        "kubeflow.org",
        "XGBoostJob",
        "xgboostjobs",
        &[pod_template("spec.xgbReplicaSpecs.*.template")],
        ToCompletion,
    ),
    custom("kubeflow.org", "MPIJob", "mpijobs", &[pod_template("spec.mpiReplicaSpecs.*.template")], ToCompletion),
    custom("kubeflow.org", "MXJob", "mxjobs", &[pod_template("spec.mxReplicaSpecs.*.template")], ToCompletion),
    custom(
        "kubeflow.org",
        "PaddleJob",
        "paddlejobs",
        &[pod_template("spec.paddleReplicaSpecs.*.template")],
        ToCompletion,
    ),
    custom("kubeflow.org", "JAXJob", "jaxjobs", &[pod_template("spec.jaxReplicaSpecs.*.template")], ToCompletion),
    custom("kubeflow.org", "Notebook", "notebooks", SPEC_TEMPLATE, Forever),
    custom("trainer.kubeflow.org", "TrainingRuntime", "trainingruntimes", TRAINING_RUNTIME, ToCompletion),
    custom("trainer.kubeflow.org", "ClusterTrainingRuntime", "clustertrainingruntimes", TRAINING_RUNTIME, ToCompletion),
    // https://docs.ray.io/en/latest/cluster/kubernetes/references.html
    custom("ray.io", "RayCluster", "rayclusters", RAY_CLUSTER, ByRestartPolicy),
    custom(
        "ray.io",
        "RayJob",
        "rayjobs",
        &[
            pod_template("spec.rayClusterSpec.headGroupSpec.template"),
            pod_template("spec.rayClusterSpec.workerGroupSpecs.*.template"),
            pod_template("spec.submitterPodTemplate"),
        ],
        ToCompletion,
    ),
    custom(
        "ray.io",
        "RayService",
        "rayservices",
        &[
            pod_template("spec.rayClusterConfig.headGroupSpec.template"),
            pod_template("spec.rayClusterConfig.workerGroupSpecs.*.template"),
        ],
        ByRestartPolicy,
    ),
    // https://volcano.sh/en/docs/vcjob/
    custom("batch.volcano.sh", "Job", "jobs", &[pod_template("spec.tasks.*.template")], ToCompletion),
    custom(
        "batch.volcano.sh",
        "CronJob",
        "cronjobs",
        &[pod_template("spec.jobTemplate.spec.tasks.*.template")],
        ToCompletion,
    ),
    custom("flow.volcano.sh", "JobTemplate", "jobtemplates", &[pod_template("spec.tasks.*.template")], ToCompletion),
    // https://openkruise.io/docs/
    custom("apps.kruise.io", "CloneSet", "clonesets", SPEC_TEMPLATE, Forever),
    custom("apps.kruise.io", "StatefulSet", "statefulsets", SPEC_TEMPLATE, Forever),
    custom("apps.kruise.io", "DaemonSet", "daemonsets", SPEC_TEMPLATE, Forever),
    custom("apps.kruise.io", "BroadcastJob", "broadcastjobs", SPEC_TEMPLATE, ToCompletion),
    custom(
        "apps.kruise.io",
        "AdvancedCronJob",
        "advancedcronjobs",
        &[
            pod_template("spec.template.jobTemplate.spec.template"),
            pod_template("spec.template.broadcastJobTemplate.spec.template"),
        ],
        ToCompletion,
    ),
    custom(
        "apps.kruise.io",
        "UnitedDeployment",
        "uniteddeployments",
        &[
            pod_template("spec.template.statefulSetTemplate.spec.template"),
            pod_template("spec.template.advancedStatefulSetTemplate.spec.template"),
            pod_template("spec.template.cloneSetTemplate.spec.template"),
            pod_template("spec.template.deploymentTemplate.spec.template"),
        ],
        Forever,
    ),
    custom(
        "apps.kruise.io",
        "SidecarSet",
        "sidecarsets",
        &[Template { path: "spec", form: Form::PodSpec }],
        ByRestartPolicy,
    ),
    // https://olm.operatorframework.io/docs/concepts/crds/clusterserviceversion/
    custom(
        "operators.coreos.com",
        "ClusterServiceVersion",
        "clusterserviceversions",
        &[pod_template("spec.install.spec.deployments.*.spec.template")],
        Forever,
    ),
    // https://github.com/crossplane-contrib/provider-kubernetes
    custom("kubernetes.crossplane.io", "Object", "objects", CROSSPLANE_OBJECT, ByRestartPolicy),
    custom("kubernetes.m.crossplane.io", "Object", "objects", CROSSPLANE_OBJECT, ByRestartPolicy),
    // https://open-cluster-management.io/docs/concepts/work-distribution/manifestwork/
    custom("work.open-cluster-management.io", "ManifestWork", "manifestworks", MANIFESTS, ByRestartPolicy),
    custom(
        "work.open-cluster-management.io",
        "ManifestWorkReplicaSet",
        "manifestworkreplicasets",
        &[object("spec.manifestWorkTemplate.workload.manifests.*")],
        ByRestartPolicy,
    ),
    // https://karmada.io/docs/reference/karmada-api/work-resources/work-v1alpha1/
    custom("work.karmada.io", "Work", "works", MANIFESTS, ByRestartPolicy),
    // https://keda.sh/docs/latest/reference/scaledjob-spec/
    custom("keda.sh", "ScaledJob", "scaledjobs", &[pod_template("spec.jobTargetRef.template")], ToCompletion),
];

/// Returns the group of an `apiVersion`; empty for the core group.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Workload {
    /// Returns the workload with this `apiVersion` and kind; without an `apiVersion`, the built-in workload of this
    /// kind: the items of a typed list do not have an `apiVersion`, nor do objects that the API server converted.
    pub fn find(api_version: &str, kind: &str) -> Option<&'static Self> {
        let named = |workload: &&Self| workload.kind == kind;
        if api_version.is_empty() {
            return WORKLOADS.iter().find(|workload| named(workload) && workload.is_builtin);
        }
        let group = group(api_version);
        WORKLOADS.iter().find(|workload| named(workload) && workload.group == group)
    }

    /// Reports whether [`crate::object::Object`] can read its pods: it is a pod or a revision, or its template is in a usual
    /// location.
    pub fn has_usual_template(&self) -> bool {
        (self.is_builtin && self.kind == "Pod")
            || self.templates.iter().all(|template| READ_TEMPLATES.contains(template))
    }

    /// Reports whether its objects contain other objects instead of pod templates.
    pub fn contains_objects(&self) -> bool {
        self.templates.iter().all(|template| template.form == Form::Object)
    }

    /// Returns the JSON Pointer to the spec of the pods in an object, for workloads with one pod template.
    pub fn spec_pointer(&self) -> String {
        let path = self.templates.first().map_or("", |template| template.path);
        let keys: String = path.split('.').filter(|key| !key.is_empty()).map(|key| format!("/{key}")).collect();
        format!("{keys}/spec")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_kind_identify_a_workload() {
        let lifetime = |api_version, kind| Workload::find(api_version, kind).map(|workload| workload.lifetime);
        assert_eq!(lifetime("batch/v1", "Job"), Some(ToCompletion));
        assert_eq!(lifetime("", "Job"), Some(ToCompletion));
        assert_eq!(Workload::find("batch.volcano.sh/v1alpha1", "Job").map(|job| job.is_builtin), Some(false));
        assert_eq!(lifetime("example.com/v1", "Job"), None);
        assert_eq!(lifetime("v1", "Deployment"), None);
        assert_eq!(lifetime("", "CloneSet"), None);
    }

    #[test]
    fn each_workload_is_listed_once() {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            let is_same = |other: &&Workload| (other.group, other.kind) == (workload.group, workload.kind);
            assert_eq!(WORKLOADS.iter().position(|other| is_same(&other)), Some(index), "{workload:?}");
            assert!(!workload.templates.is_empty(), "{workload:?}");
        }
    }

    #[test]
    fn built_in_workloads_have_a_pointer_to_the_spec_of_their_pods() {
        let pointer = |kind| Workload::find("", kind).map(Workload::spec_pointer);
        assert_eq!(pointer("Pod").as_deref(), Some("/spec"));
        assert_eq!(pointer("DaemonSet").as_deref(), Some("/spec/template/spec"));
        assert_eq!(pointer("CronJob").as_deref(), Some("/spec/jobTemplate/spec/template/spec"));
        assert_eq!(pointer("PodTemplate").as_deref(), Some("/template/spec"));
    }
}
