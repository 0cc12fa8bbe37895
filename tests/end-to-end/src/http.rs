//! Requests as they go over the wire, so that a test can send wrong ones.

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

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a server is spoken to.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Without TLS.
    Plain,
    /// With TLS and whatever certificate there is, as kubelets probe.
    Anybody,
    /// With TLS and a certificate of these authorities, as PEM text.
    Authorities(Arc<str>),
}

/// A server, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Http {
    /// Its address.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub trust: Trust,
}

/// A connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(StreamOwned<ClientConnection, TcpStream>),
}

impl Http {
    /// Connects.
    pub fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let config = match &self.trust {
            Trust::Plain => return Ok(Connection::Plain(stream)),
            Trust::Anybody => anybody(),
            Trust::Authorities(ca_bundle) => trusting(ca_bundle)?,
        };
        let name = ServerName::IpAddress(self.address.ip().into());
        let mut stream = StreamOwned::new(ClientConnection::new(config, name)?, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection::Tls(stream))
    }

    /// The status and the body that a GET is answered with.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
    }

    /// The status and the body that a POST of JSON is answered with.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<(u16, String)> {
        self.send(&post(path, "application/json", body))
    }

    /// Sends bytes, and reads the answer until the connection ends.
    pub fn send(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut connection = self.connect()?;
        // A server that has read enough to refuse may close its side before everything is written.
        let written = connection.write_all(bytes).and_then(|()| connection.flush());
        let answer = connection.read_answer();
        match answer {
            Err(error) => written.map_err(anyhow::Error::from).and(Err(error)),
            answer => answer,
        }
    }

    /// Sends bytes and then nothing more, as a client that breaks off.
    pub fn send_and_break_off(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut connection = self.connect()?;
        connection.write_all(bytes)?;
        connection.flush()?;
        connection.end()?;
        connection.read_answer()
    }
}

/// A POST after which the connection ends.
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
    /// Reads an answer until the connection ends.
    pub fn read_answer(&mut self) -> Result<(u16, String)> {
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                // Not every end is announced.
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error).context("there is no answer"),
            }
        }
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
        let code = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
        Ok((code, body.to_owned()))
    }

    /// Says that nothing more will be sent.
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
    builder.with_safe_default_protocol_versions().expect("the provider knows the usual versions")
}

fn anybody() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = || {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let verifier = Arc::new(Anybody(algorithms));
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
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
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
