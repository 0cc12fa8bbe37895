//! The command line, as clap reads it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kube_devops_cluster::webhook::configuration::TemplatedResource;
use kube_devops_core::Severity;

use crate::output::Format;

/// Kubernetes governance: scores manifests and live clusters with checks that are WebAssembly components.
#[derive(Debug, Parser)]
#[command(
    name = "kube-devops",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kube-devops analyze -f deploy/            judge manifests, without a cluster
  kube-devops analyze                       judge the pods of the current cluster
  kube-devops explain latest-tag            what a check looks for, why, and how to mend it

Exit codes: 0 fine; 1 a gate is not met or a permission is missing; 2 something could not be done or evaluation."
)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster is meant.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// The kubeconfig file; otherwise KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; otherwise the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the version
    #[command(after_help = "Example:\n  kube-devops version")]
    Version,
    /// Check that the cluster can be reached and what you are allowed to do there
    #[command(after_help = "\
Examples:
  kube-devops check
  kube-devops check --context production --namespace kube-devops
  kube-devops check --analyze-namespace shop               what analyze -n shop needs

Exit code 1 says that a permission is missing.")]
    Check(CheckArguments),
    /// List resources of the cluster
    #[command(subcommand, after_help = "Example:\n  kube-devops list pods -n production")]
    List(ListCommand),
    /// Judge manifests or the pods of a cluster
    #[command(after_help = "\
Examples:
  kube-devops analyze -f deploy/ -f extra.yaml             manifests, without a cluster
  kube-devops analyze --helm-chart ./chart --values production.yaml
  kube-devops analyze -n production -l app=web             pods of the current cluster
  kube-devops analyze -f . --bundle restricted --fail-on high
  kube-devops analyze -f . -o sarif > result.sarif         for code scanning

Without --bundle and --policy all five checks are on, with more than 3 restarts and more than 300 seconds of
waiting as violations.

Exit codes: 0 fine; 1 a gate (--fail-on, --min-score, --min-compliance) is not met; 2 something could not be evaluation.")]
    Analyze(Box<AnalyzeArguments>),
    /// Say what a check looks for, why it matters and how to mend it
    #[command(after_help = "Examples:\n  kube-devops explain\n  kube-devops explain latest-tag")]
    Explain(ExplainArguments),
    /// Print or install the custom resources
    #[command(subcommand, after_help = "Example:\n  kube-devops crd install")]
    Crd(CrdCommand),
    /// Work with policies and bundles
    #[command(subcommand, after_help = "Example:\n  kube-devops policy bundle-list")]
    Policy(PolicyCommand),
    /// Keep the scores of the cluster and its namespaces up to date, live
    #[command(after_help = "\
Examples:
  kube-devops watch
  kube-devops watch --lease-namespace platform --addr 127.0.0.1:8080

Serves /healthz, /readyz and /metrics. Of several replicas one is_leader, by a Lease.")]
    Watch(WatchArguments),
    /// Run the operator, which evaluates DevOpsPolicies all the time
    #[command(after_help = "\
Examples:
  kube-devops reconcile
  kube-devops reconcile --audit-retention 30 --system-namespace platform

Serves /healthz, /readyz and /metrics. Of several replicas one is_leader, by a Lease.")]
    Reconcile(ReconcileArguments),
    /// Run the admission webhook, and set it up
    #[command(subcommand, after_help = "Example:\n  kube-devops webhook serve")]
    Webhook(WebhookCommand),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  source <(kube-devops completion bash)
  kube-devops completion fish > ~/.config/fish/completions/kube-devops.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The namespace that the controllers run in
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME")]
    pub namespace: String,
    /// Check only whether the pods of this namespace can be evaluated, as `analyze -n NAME` does; can be given more than once
    #[arg(long = "analyze-namespace", value_name = "NAME", conflicts_with = "namespace")]
    pub analyze_namespaces: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// List pods with their phase and node
    #[command(after_help = "\
Examples:
  kube-devops list pods
  kube-devops list pods -n production -l app=web -o json")]
    Pods(ListPodsArguments),
}

#[derive(Debug, Args)]
pub struct ListPodsArguments {
    #[command(flatten)]
    pub selection: Selection,
    /// The form of the list
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListFormat,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns, for people
    #[default]
    Text,
    /// A JSON array
    Json,
    /// A YAML list
    Yaml,
    /// pod/NAME in each line, for kubectl
    Name,
}

/// Which objects are meant.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Only this namespace; can be given more than once
    #[arg(short, long = "namespace", value_name = "NAME")]
    pub namespaces: Vec<String>,
    /// Only pods with these labels, such as app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnalyzeArguments {
    /// Judge manifests: files, folders with everything below them, or - for standard input
    #[arg(short, long = "filename", num_args = 1.., value_name = "PATH")]
    pub filenames: Vec<PathBuf>,
    /// Evaluate what a kustomization in a folder results in, as rendered by kubectl or kustomize
    #[arg(long, value_name = "FOLDER")]
    pub kustomize: Vec<PathBuf>,
    /// Evaluate what a Helm chart results in, as rendered by helm: the folder of a chart, or a packed chart
    #[arg(long, value_name = "CHART")]
    pub helm_chart: Vec<PathBuf>,
    /// A file of values for --helm-chart; can be given more than once
    #[arg(long, value_name = "FILE", requires = "helm_chart")]
    pub values: Vec<PathBuf>,
    /// A value for --helm-chart; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", requires = "helm_chart")]
    pub set: Vec<String>,
    /// Paths without -f, which are answered with what was meant
    #[arg(hide = true, value_name = "PATH")]
    pub misplaced: Vec<PathBuf>,
    /// Leave files out of folders, in the syntax of .gitignore; can be given more than once. A .kube-devopsignore in a
    /// folder does the same
    #[arg(long, value_name = "PATTERN", value_parser = exclude_pattern)]
    pub exclude: Vec<String>,
    /// What results from standard input name as their file; Helm's "# Source:" comments go before
    #[arg(long, value_name = "PATH")]
    pub stdin_name: Option<String>,
    #[command(flatten)]
    pub selection: Selection,
    /// Judge by a bundle: see `policy bundle-list`
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    pub bundle: Option<String>,
    /// Judge by a DevOpsPolicy in a file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Judge system namespaces too
    #[arg(long)]
    pub include_system: bool,
    /// A further namespace that belongs to the system; can be given more than once
    #[arg(long = "system-namespace", value_name = "NAME")]
    pub system_namespaces: Vec<String>,
    /// The form of the report: text, json, yaml, sarif, junit or github; with =FILE it is written to a file. Can be given more
    /// than once, once without a file
    #[arg(short, long = "output", default_value = "text", value_name = "FORMAT[=FILE]", value_parser = output_target)]
    pub outputs: Vec<OutputTarget>,
    /// Exit with code 1 where a violation is at least this severe
    #[arg(long, value_name = "SEVERITY", help_heading = "Gates", value_parser = clap::builder::PossibleValuesParser::new(Severity::ALL.map(Severity::as_str)))]
    pub fail_on: Option<String>,
    /// Exit with code 1 where the health score is below this
    #[arg(long, value_name = "SCORE", help_heading = "Gates", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_score: Option<u8>,
    /// Exit with code 1 where the compliance is below this many percent
    #[arg(long, value_name = "PERCENT", help_heading = "Gates", value_parser = percent)]
    pub min_compliance: Option<f64>,
    /// Exit with code 1 if nothing was evaluated; any other gate does so too
    #[arg(long, help_heading = "Gates")]
    pub fail_on_empty: bool,
    /// Exit with code 2 if an object of an unknown kind contains containers, which are not evaluated
    #[arg(long, help_heading = "Gates")]
    pub fail_on_unknown: bool,
}

/// One form of the report, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTarget {
    /// The form.
    pub format: Format,
    /// The file; none: standard output.
    pub file: Option<PathBuf>,
}

fn output_target(text: &str) -> Result<OutputTarget, String> {
    let (format, file) = text.split_once('=').map_or((text, None), |(format, file)| (format, Some(file)));
    let format = Format::from_str(format, false).map_err(|_| {
        let known: Vec<_> = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let known: Vec<_> = known.iter().map(|value| value.get_name()).collect();
        format!("there is no format {format:?}; the formats are {}", known.join(", "))
    })?;
    match file {
        Some("") => Err("the name of a file is missing after =".to_owned()),
        file => Ok(OutputTarget { format, file: file.map(PathBuf::from) }),
    }
}

fn exclude_pattern(pattern: &str) -> Result<String, String> {
    kube_devops_manifests::check_pattern(pattern)?;
    Ok(pattern.to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("a percentage is between 0 and 100".to_owned()) }
}

/// What the controllers have in common.
#[derive(Debug, Args)]
pub struct ControllerArguments {
    /// The namespace of the Lease; in a pod, that of the pod
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "kube-devops",
        value_name = "NAME",
        help_heading = "Leader election"
    )]
    pub lease_namespace: String,
    /// How many seconds a leader is taken for alive after it was heard of last
    #[arg(long, default_value_t = 15, value_name = "SECONDS", help_heading = "Leader election", value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub lease_duration: u64,
    /// The name of this replica, unlike that of any other; in a pod, that of the pod
    #[arg(long, env = "POD_NAME", value_name = "NAME", help_heading = "Leader election")]
    pub identity: Option<String>,
    /// A further namespace that belongs to the system; can be given more than once
    #[arg(long = "system-namespace", value_name = "NAME")]
    pub system_namespaces: Vec<String>,
}

#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// The name of the Lease
    #[arg(long, default_value = "kube-devops-watch", value_name = "NAME", help_heading = "Leader election")]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    /// How many audit results of a policy are kept; 0 writes none
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub audit_retention: u16,
    /// The least number of seconds between two audit results of a policy
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub audit_period: u32,
    /// Only say in the status of policies what would be added to workloads
    #[arg(long, help_heading = "Enforcement")]
    pub dry_run: bool,
    /// How many workloads of a policy are changed in a minute
    #[arg(long, default_value_t = 10, value_name = "NUMBER", help_heading = "Enforcement")]
    pub patches_per_minute: u16,
    /// How many seconds a rollout may take, where the workload has no progressDeadlineSeconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS", help_heading = "Enforcement")]
    pub rollout_deadline: u32,
    /// The name of the Lease
    #[arg(long, default_value = "kube-devops-reconcile", value_name = "NAME", help_heading = "Leader election")]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Answer admission requests of API servers over HTTPS
    #[command(after_help = "\
Examples:
  kube-devops webhook serve
  kube-devops webhook serve --tls-cert tls.crt --tls-key tls.key --addr 0.0.0.0:8443
  kube-devops webhook serve --deny-severity medium

Without --tls-cert and --tls-key it makes and renews a certificate of its own, which it keeps in a Secret.
Serves /validate, /healthz, /readyz and /metrics.")]
    Serve(Box<WebhookServeArguments>),
    /// Make a certificate for the webhook: tls.crt, tls.key and the authority that signed it, ca.crt
    #[command(after_help = "\
Examples:
  kube-devops webhook cert-generate --output-dir certificates
  kube-devops webhook cert-generate --ip-san 192.168.1.26")]
    CertGenerate(CertGenerateArguments),
    /// Print the ValidatingWebhookConfiguration that has API servers ask the webhook
    #[command(after_help = "\
Examples:
  kube-devops webhook install-config | kubectl apply -f -
  kube-devops webhook install-config --ca-bundle-path ca.crt | kubectl apply -f -
  kube-devops webhook install-config --ca-bundle-path ca.crt --url https://192.168.1.26:8443

Without --ca-bundle-path the webhook itself enters the ca of its certificate.
To switch the webhook off: kubectl delete validatingwebhookconfiguration kube-devops-webhook")]
    InstallConfig(InstallConfigArguments),
}

/// What the webhook's commands have in common.
#[derive(Debug, Args)]
pub struct WebhookNames {
    /// The Service in front of the webhook
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME")]
    pub service_name: String,
    /// The ServiceAccount of the operator, in the same namespace, whose updates are let through: it mends workloads
    #[arg(long, default_value = "kube-devops-reconcile", value_name = "NAME")]
    pub operator_service_account: String,
}

#[derive(Debug, Args)]
pub struct WebhookServeArguments {
    /// Where it listens
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    #[command(flatten)]
    pub names: WebhookNames,
    /// From which severity on a violation denies; what is below becomes a warning
    #[arg(long, default_value = "high", value_name = "SEVERITY", help_heading = "Judging", value_parser = clap::builder::PossibleValuesParser::new(Severity::ALL.map(Severity::as_str)))]
    pub deny_severity: String,
    /// Deny what cannot be judged, instead of letting it in with a warning
    #[arg(long, help_heading = "Judging")]
    pub fail_closed: bool,
    /// How many milliseconds judging a request may take; less than the timeout of the configuration
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", help_heading = "Judging", value_parser = clap::value_parser!(u64).range(1..=29_000))]
    pub deadline: u64,
    /// How many requests are judged at a time; more are let in with a warning
    #[arg(long, default_value_t = 64, value_name = "NUMBER", help_heading = "Judging", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent: u16,
    /// The largest review, in KiB
    #[arg(long, default_value_t = 8192, value_name = "KIB", help_heading = "Judging", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub max_body: u32,
    /// For how many seconds it goes on answering after it was asked to stop
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub drain: u16,
    /// The certificate in a file, with those between it and its authority; looked at every second
    #[arg(long, value_name = "FILE", help_heading = "Certificate", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate in a file
    #[arg(long, value_name = "FILE", help_heading = "Certificate", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The Secret of the webhook's own certificate, in the namespace of the Lease
    #[arg(long, default_value = "kube-devops-webhook-tls", value_name = "NAME", help_heading = "Certificate")]
    pub secret_name: String,
    /// The ValidatingWebhookConfiguration that is told whom to trust
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", help_heading = "Certificate")]
    pub config_name: String,
    /// For how many days a certificate of its own is good; it is renewed when a third of that is left
    #[arg(long, default_value_t = 90, value_name = "DAYS", help_heading = "Certificate", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub certificate_days: u16,
    /// An address that a certificate of its own is for as well; can be given more than once
    #[arg(long = "ip-san", value_name = "IP", help_heading = "Certificate")]
    pub ip_sans: Vec<IpAddr>,
    /// The name of the Lease
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", help_heading = "Leader election")]
    pub lease_name: String,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct CertGenerateArguments {
    /// The Service in front of the webhook
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME")]
    pub service_name: String,
    /// The namespace of the Service
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME")]
    pub namespace: String,
    /// The folder for the files; authorities in a ca.crt that is there stay in it until they end
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub output_dir: PathBuf,
    /// An address that the webhook is reached by without the Service; can be given more than once
    #[arg(long = "ip-san", value_name = "IP", num_args = 1..)]
    pub ip_sans: Vec<IpAddr>,
    /// For how many days the certificate is good
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
}

#[derive(Debug, Args)]
pub struct InstallConfigArguments {
    #[command(flatten)]
    pub names: WebhookNames,
    /// The authority of the webhook's certificate, as a PEM file; without it the webhook enters its own
    #[arg(long, value_name = "FILE")]
    pub ca_bundle_path: Option<PathBuf>,
    /// The namespace of the Service and of the webhook
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME")]
    pub namespace: String,
    /// The name of the configuration
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME")]
    pub config_name: String,
    /// The address of a webhook outside of the cluster, such as https://192.168.1.26:8443, instead of a Service
    #[arg(long, value_name = "URL", value_parser = https_url)]
    pub url: Option<String>,
    /// How many seconds API servers wait for an answer
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(1..=30))]
    pub timeout_seconds: u8,
    /// Refuse requests that the webhook does not answer, instead of letting them in
    #[arg(long)]
    pub fail_closed: bool,
    /// A further namespace that belongs to the system; can be given more than once
    #[arg(long = "system-namespace", value_name = "NAME")]
    pub system_namespaces: Vec<String>,
    /// A further resource with a pod template at spec.template, such as argoproj.io/rollouts; can be given more than once
    #[arg(long = "resource", value_name = "GROUP/RESOURCE", value_parser = templated_resource)]
    pub resources: Vec<TemplatedResource>,
}

fn https_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.contains(['?', '#', ' ']) {
        return Err("an address looks like https://192.168.1.26:8443".to_owned());
    }
    Ok(text.to_owned())
}

fn templated_resource(text: &str) -> Result<TemplatedResource, String> {
    match text.split_once('/') {
        Some((group, resource)) if !group.is_empty() && !resource.is_empty() && !resource.contains('/') => {
            Ok(TemplatedResource { group: group.to_owned(), resource: resource.to_owned() })
        }
        _ => Err("a resource looks like argoproj.io/rollouts".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The id of the check; without it, all checks are listed
    pub check: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum CrdCommand {
    /// Print the custom resource definitions as YAML
    #[command(after_help = "Example:\n  kube-devops crd generate | kubectl apply --server-side -f -")]
    Generate,
    /// Install the custom resource definitions and wait until the API server serves them
    #[command(after_help = "Example:\n  kube-devops crd install --context staging")]
    Install,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the commands are called so")]
pub enum PolicyCommand {
    /// List the bundles
    #[command(after_help = "Example:\n  kube-devops policy bundle-list")]
    BundleList,
    /// Show what a bundle consists of
    #[command(after_help = "Example:\n  kube-devops policy bundle-show restricted")]
    BundleShow {
        /// The name of the bundle
        name: String,
    },
    /// Print a bundle as a DevOpsPolicy
    #[command(after_help = "\
Example:
  kube-devops policy bundle-apply restricted --namespace production | kubectl apply -f -")]
    BundleApply {
        /// The name of the bundle
        name: String,
        /// The namespace of the policy
        #[arg(short, long, default_value = "default", value_name = "NAME")]
        namespace: String,
        /// The name of the policy
        #[arg(long, default_value = "devops-policy", value_name = "NAME")]
        policy_name: String,
    },
}
