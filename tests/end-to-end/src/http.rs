//! Raw HTTP requests, so that a test can send malformed ones.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};

/// The timeout of a response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The transport security of a connection.
#[derive(Debug, Clone)]
pub enum Trust {
    /// No TLS.
    Plain,
    /// TLS with any certificate, like the probes of kubelets.
    Any,
    /// TLS with a certificate of this CA bundle, as PEM text.
    CaBundle(Arc<str>),
}

/// The address and the transport security of a server.
#[derive(Debug, Clone)]
pub struct Http {
    /// The address.
    pub address: SocketAddr,
    /// The transport security.
    pub trust: Trust,
}

/// A connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Connection {
    /// No TLS.
    Plain(TcpStream),
    /// TLS.
    Tls(StreamOwned<ClientConnection, TcpStream>),
}

impl Http {
    /// Opens a connection.
    pub fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let config = match &self.trust {
            Trust::Plain => return Ok(Connection::Plain(stream)),
            Trust::Any => trusting_any(),
            Trust::CaBundle(ca_bundle) => trusting(ca_bundle)?,
        };
        let name = ServerName::IpAddress(self.address.ip().into());
        let mut stream = StreamOwned::new(ClientConnection::new(config, name)?, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection::Tls(stream))
    }

    /// Sends a GET and returns the status and the body of the response.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
    }

    /// Sends a POST of JSON and returns the status and the body of the response.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<(u16, String)> {
        self.send(&post(path, "application/json", body))
    }

    /// Sends bytes and reads the response until the connection ends.
    pub fn send(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut connection = self.connect()?;
        // A server that rejects the request early may close its side before everything is written.
        let written = connection.write_all(bytes).and_then(|()| connection.flush());
        let answer = connection.read_answer();
        match answer {
            Err(error) => written.map_err(anyhow::Error::from).and(Err(error)),
            answer => answer,
        }
    }

    /// Sends bytes and closes the write side, like a client that aborts a request.
    pub fn send_and_close(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut connection = self.connect()?;
        connection.write_all(bytes)?;
        connection.flush()?;
        connection.end()?;
        connection.read_answer()
    }
}

/// Returns a POST request that closes the connection.
pub fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

impl Connection {
    /// Reads a response until the connection ends.
    pub fn read_answer(&mut self) -> Result<(u16, String)> {
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                // Not every peer announces the end of the connection.
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error).context("no response"),
            }
        }
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a response has a body")?;
        let code = head.split(' ').nth(1).context("a response has a status")?.parse()?;
        Ok((code, body.to_owned()))
    }

    /// Closes the write side.
    fn end(&mut self) -> Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write)?,
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().expect("the provider supports the default versions")
}

fn trusting_any() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = || {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let verifier = Arc::new(AnyCertificate(algorithms));
        Arc::new(builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    };
    CONFIG.get_or_init(config).clone()
}

fn trusting(ca_bundle: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots.add(ca?)?;
    }
    Ok(Arc::new(builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Trusts every certificate.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
