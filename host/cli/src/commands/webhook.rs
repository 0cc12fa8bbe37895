//! `webhook`: the admission webhook, its certificate and its configuration.

use std::num::NonZero;
use std::time::Duration;

use anyhow::{Context, Result};
use kube_devops_core::SystemNamespaces;
use kube_devops_core::text::number;
use kube_devops_webhook::admission::AdmissionOptions;
use kube_devops_webhook::certificate::{
    CertificateFiles, CertificateNames, ManagedCertificate, issue, read_ca_bundle, write_files,
};
use kube_devops_webhook::configuration::{ConfigurationOptions, Server, mutating, validating};
use kube_devops_webhook::{self as webhook, CertificateSource, WebhookOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::document::ordered_document;
use super::{Outcome, controller, print};
use crate::arguments::{
    CertGenerateArguments, ClusterArguments, InstallConfigArguments, WebhookCommand, WebhookNames,
    WebhookServeArguments,
};
use crate::terminal::print_message;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: WebhookCommand) -> Result<Outcome> {
    match command {
        WebhookCommand::Serve(arguments) => serve(cluster, &arguments),
        WebhookCommand::CertGenerate(arguments) => cert_generate(arguments),
        WebhookCommand::InstallConfig(arguments) => install_config(arguments),
    }
}

/// Raises the number of open files to the hard limit, because each connection is one: the soft limit is often 1,024.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!("failed to raise the limit of open files: {error}");
    }
}

fn serve(cluster: &ClusterArguments, arguments: &WebhookServeArguments) -> Result<Outcome> {
    let catalog = controller::catalog(&arguments.modules)?;
    let namespace = &arguments.controller.lease_namespace;
    let certificate = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => {
            CertificateSource::Files(CertificateFiles { certificate: certificate.clone(), key: key.clone() })
        }
        _ => CertificateSource::Managed {
            managed: ManagedCertificate {
                namespace: namespace.clone(),
                secret: arguments.secret_name.clone(),
                configuration: arguments.config_name.clone(),
                names: CertificateNames {
                    service: arguments.names.service_name.clone(),
                    namespace: namespace.clone(),
                    addresses: arguments.ip_sans.clone(),
                },
                valid: chrono::Duration::days(arguments.certificate_days.into()),
            },
            election: arguments.controller.election(&arguments.lease_name),
        },
    };
    let options = WebhookOptions {
        address: arguments.addr,
        admission: AdmissionOptions {
            deny: arguments.deny_severity.0,
            fail_closed: arguments.fail_closed,
            deadline: Duration::from_millis(arguments.deadline),
            most_at_once: arguments.max_concurrent.into(),
            // The webhook's own namespace is excluded, so that its pods can start without it.
            system: arguments.controller.system().and([namespace.clone()]),
            operator: arguments.names.operator(namespace),
            deny_controller_pods: arguments.deny_controller_pods,
        },
        largest_body: usize::try_from(arguments.max_body)? * 1024,
        drain: Duration::from_secs(arguments.drain.into()),
        certificate,
    };
    let threads = std::thread::available_parallelism().map_or(controller::THREADS, NonZero::get);
    controller::run(cluster, false, threads.max(controller::THREADS), async |connection, stop| {
        raise_file_limit();
        webhook::run(&connection, catalog, namespace.clone(), options, stop).await?;
        Ok(())
    })
}

fn cert_generate(arguments: CertGenerateArguments) -> Result<Outcome> {
    let names = CertificateNames {
        service: arguments.service_name,
        namespace: arguments.namespace,
        addresses: arguments.ip_sans,
    };
    let issued = issue(&names, chrono::Utc::now(), chrono::Duration::days(arguments.days.into()))?;
    let [ca, certificate, key] = write_files(&arguments.output_dir, &issued)?;
    print(&format!(
        "{}  serving certificate for {}, valid for {}\n{}  private key, readable only by you\n{}  CA certificate, for install-config --ca-bundle-path\n",
        certificate.display(),
        names.all().join(", "),
        number(arguments.days.into(), "day"),
        key.display(),
        ca.display(),
    ))
}

fn install_config(arguments: InstallConfigArguments) -> Result<Outcome> {
    if arguments.url.is_some() && arguments.ca_bundle_path.is_none() {
        print_message(
            "note",
            "without --ca-bundle-path, the webhook injects the CA bundle of its own certificate, which must include the \
             address of --url: use webhook serve --ip-san",
        );
    }
    let ca_bundle = match &arguments.ca_bundle_path {
        Some(path) => Some(read_ca_bundle(path).context("--ca-bundle-path")?),
        None => None,
    };
    let server = match arguments.url {
        Some(url) => Server::Url(url),
        None => Server::Service { name: arguments.names.service_name.clone(), namespace: arguments.namespace.clone() },
    };
    let options = ConfigurationOptions {
        name: arguments.config_name,
        server,
        ca_bundle,
        timeout: arguments.timeout_seconds,
        fail_closed: arguments.fail_closed,
        operator: arguments.names.operator(&arguments.namespace),
        system: SystemNamespaces::default().and(arguments.system_namespaces).and([arguments.namespace]),
        resources: arguments.resources,
    };
    let documents = [ordered_document(&validating(&options))?, ordered_document(&mutating(&options))?];
    print(&documents.join("---\n"))
}

impl WebhookNames {
    /// Returns the user name of the operator at the API server.
    fn operator(&self, namespace: &str) -> Option<String> {
        let name = &self.operator_service_account;
        (!name.is_empty()).then(|| format!("system:serviceaccount:{namespace}:{name}"))
    }
}
