//! The CA of one control plane or registry.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::real_node;

/// Signs the serving certificates of servers and the client certificates of users and components.
pub(crate) struct Ca {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM text.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    /// Creates a CA.
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "test cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Creates a CA and writes the certificates and keys of the components into `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let ca = Self::new()?;
        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let names = names.into_iter().chain([real_node::ADDRESS, real_node::SERVICE_ADDRESS]);
        let server = ca.for_server("kube-apiserver", names)?;
        let service_accounts = KeyPair::generate()?;
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        for (name, text) in [
            ("ca.crt", &ca.certificate),
            ("ca.key", &ca.issuer.key().serialize_pem()),
            ("api-server.crt", &server.certificate),
            ("api-server.key", &server.key),
            ("service-accounts.key", &service_accounts.serialize_pem()),
            ("service-accounts.pub", &service_accounts.public_key_pem()),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(ca)
    }

    /// The certificate of the CA itself, as PEM text.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a client certificate for `user` as a member of `group`.
    pub(crate) fn for_client(&self, user: &str, group: Option<&str>) -> Result<Certificate> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
            .with_context(|| format!("failed to create a certificate for the user {user:?}"))
    }

    /// Issues a serving certificate for the host names and addresses `names`.
    pub(crate) fn for_server(
        &self,
        server: &str,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Result<Certificate> {
        let names: Vec<String> = names.into_iter().map(str::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, server);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
            .with_context(|| format!("failed to create the serving certificate of {server}"))
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Certificate> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { certificate, key: key.serialize_pem() })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key of the issuer must not be printed.
        formatter.debug_struct("Ca").finish_non_exhaustive()
    }
}
