//! Arguments of the webhook commands.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kube_devops_webhook::configuration::TemplatedResource;

use super::names::{namespace, object_name, optional_name, service_name};
use super::severity::{DenySeverity, deny_severity};
use super::{ControllerArguments, ModuleCacheArguments};

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Serve admission requests over HTTPS
    #[command(after_help = "\
Examples:
  kube-devops webhook serve
  kube-devops webhook serve --tls-cert tls.crt --tls-key tls.key --addr 0.0.0.0:8443
  kube-devops webhook serve --deny-severity medium

Without --tls-cert and --tls-key, the webhook issues and renews its own certificate and stores it in a Secret.
Serves /validate, /mutate, /healthz, /readyz and /metrics.")]
    Serve(Box<WebhookServeArguments>),
    /// Generate a serving certificate for the webhook: tls.crt, tls.key and the CA that signed it, ca.crt
    #[command(after_help = "\
Examples:
  kube-devops webhook cert-generate --output-dir certificates
  kube-devops webhook cert-generate --ip-san 192.168.1.26")]
    CertGenerate(CertGenerateArguments),
    /// Print the configurations that register the webhook with API servers
    #[command(after_help = "\
Examples:
  kube-devops webhook install-config | kubectl apply -f -
  kube-devops webhook install-config --ca-bundle-path ca.crt | kubectl apply -f -
  kube-devops webhook install-config --ca-bundle-path ca.crt --url https://192.168.1.26:8443

Without --ca-bundle-path, the webhook injects the CA bundle of its own certificate.
To disable the webhook: kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration kube-devops-webhook")]
    InstallConfig(InstallConfigArguments),
}

/// The names that the webhook commands share.
#[derive(Debug, Args)]
pub struct WebhookNames {
    /// Service of the webhook
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", value_parser = service_name)]
    pub service_name: String,
    /// ServiceAccount of the operator, in the same namespace, whose updates are admitted because it remediates workloads; may be empty
    #[arg(long, default_value = "kube-devops-reconcile", value_name = "NAME", value_parser = optional_name)]
    pub operator_service_account: String,
}

#[derive(Debug, Args)]
pub struct WebhookServeArguments {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    pub addr: SocketAddr,
    #[command(flatten)]
    pub names: WebhookNames,
    /// Minimum severity of a violation that denies a request; less severe violations are warnings, and all are with `none`
    #[arg(long, default_value = "high", value_name = "SEVERITY", help_heading = "Evaluation", value_parser = deny_severity())]
    pub deny_severity: DenySeverity,
    /// Deny requests that cannot be evaluated, instead of admitting them with a warning
    #[arg(long, help_heading = "Evaluation")]
    pub fail_closed: bool,
    /// Evaluation deadline of a request in milliseconds; less than the timeout of the configuration
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", help_heading = "Evaluation", value_parser = clap::value_parser!(u64).range(1..=29_000))]
    pub deadline: u64,
    /// Maximum number of requests to evaluate concurrently; further requests are admitted with a warning, or denied with
    /// --fail-closed
    #[arg(long, default_value_t = 64, value_name = "NUMBER", help_heading = "Evaluation", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent: u16,
    /// Maximum size of an AdmissionReview in KiB
    #[arg(long, default_value_t = 49152, value_name = "KIB", help_heading = "Evaluation", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub max_body: u32,
    /// Deny pods, ReplicaSets and Jobs of built-in controllers like those of users; otherwise their violations are
    /// warnings, because their template was admitted, and pods must be replaceable at any time
    #[arg(long, help_heading = "Evaluation")]
    pub deny_controller_pods: bool,
    /// Number of seconds to keep serving requests after a termination signal
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub drain: u16,
    /// File with the serving certificate and its intermediate certificates; checked for changes every second
    #[arg(long, value_name = "FILE", help_heading = "Certificate", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the private key of the certificate
    #[arg(long, value_name = "FILE", help_heading = "Certificate", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Secret of the webhook's own certificate, in the namespace of the Lease
    #[arg(long, default_value = "kube-devops-webhook-tls", value_name = "NAME", help_heading = "Certificate", value_parser = object_name)]
    pub secret_name: String,
    /// Name of the webhook configurations to inject the CA bundle into
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", help_heading = "Certificate", value_parser = object_name)]
    pub config_name: String,
    /// Validity of the webhook's own certificate in days; it is renewed when a third of that is left
    #[arg(long, default_value_t = 90, value_name = "DAYS", help_heading = "Certificate", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub certificate_days: u16,
    /// Additional IP address in the webhook's own certificate; can be specified multiple times
    #[arg(long = "ip-san", value_name = "IP", help_heading = "Certificate")]
    pub ip_sans: Vec<IpAddr>,
    /// Name of the Lease
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", help_heading = "Leader election", value_parser = object_name)]
    pub lease_name: String,
    #[command(flatten)]
    pub modules: ModuleCacheArguments,
    #[command(flatten)]
    pub controller: ControllerArguments,
}

#[derive(Debug, Args)]
pub struct CertGenerateArguments {
    /// Service of the webhook
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", value_parser = service_name)]
    pub service_name: String,
    /// Namespace of the Service
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME", value_parser = namespace)]
    pub namespace: String,
    /// Folder for the files; an existing ca.crt keeps its CAs until they expire
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub output_dir: PathBuf,
    /// IP address of the webhook outside the Service; can be specified multiple times
    #[arg(long = "ip-san", value_name = "IP", num_args = 1..)]
    pub ip_sans: Vec<IpAddr>,
    /// Validity of the certificate in days
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
}

#[derive(Debug, Args)]
pub struct InstallConfigArguments {
    #[command(flatten)]
    pub names: WebhookNames,
    /// PEM file with the CA bundle of the webhook's certificate; without it, the webhook injects its own
    #[arg(long, value_name = "FILE")]
    pub ca_bundle_path: Option<PathBuf>,
    /// Namespace of the webhook and its Service
    #[arg(short, long, default_value = "kube-devops", value_name = "NAME", value_parser = namespace)]
    pub namespace: String,
    /// Name of the ValidatingWebhookConfiguration and the MutatingWebhookConfiguration
    #[arg(long, default_value = "kube-devops-webhook", value_name = "NAME", value_parser = object_name)]
    pub config_name: String,
    /// URL of a webhook outside the cluster, such as https://192.168.1.26:8443, instead of a Service
    #[arg(long, value_name = "URL", value_parser = https_url)]
    pub url: Option<String>,
    /// Number of seconds API servers wait for a response
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(1..=30))]
    pub timeout_seconds: u8,
    /// Deny changes of workloads that the webhook does not answer, instead of admitting them
    #[arg(long)]
    pub fail_closed: bool,
    /// Additional system namespace to exclude; can be specified multiple times
    #[arg(long = "system-namespace", value_name = "NAME", value_parser = namespace)]
    pub system_namespaces: Vec<String>,
    /// Additional resource with a pod template at spec.template, such as argoproj.io/rollouts; can be specified multiple
    /// times
    #[arg(long = "resource", value_name = "GROUP/RESOURCE", value_parser = TemplatedResource::parse)]
    pub resources: Vec<TemplatedResource>,
}

fn https_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.contains(['?', '#', ' ']) {
        return Err("expected a URL such as https://192.168.1.26:8443".to_owned());
    }
    Ok(text.to_owned())
}
