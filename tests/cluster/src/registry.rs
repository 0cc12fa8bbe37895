//! A real OCI registry for tests.
//!
//! ```text
//!   registry/go.mod ── built once ──► Registry ──┬── registry (distribution), or referrers (go-containerregistry)
//!                                                └── token-server, only with token authentication
//! ```
//!
//! The usual registry is distribution, which stores everything in files and has no referrers API, so that clients fall back to
//! a tag for it. With [`RegistryOptions::referrers`] it is the registry of go-containerregistry, which has that API.
//!
//! ```no_run
//! # async fn a_test() -> anyhow::Result<()> {
//! use test_cluster::registry::{Authentication, Registry, RegistryOptions};
//!
//! let authentication = Authentication::Basic { user: "jane".to_string(), password: "secret".to_string() };
//! let registry = Registry::start(RegistryOptions { tls: true, authentication, ..RegistryOptions::default() }).await?;
//! let reference = format!("{}/checks/labels:1.0", registry.host());
//! # Ok(())
//! # }
//! ```

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    sync::Mutex,
};

use anyhow::{Context, Result, bail, ensure};
use http::{Request, Response, StatusCode};
use kube::{Client, Config, client::Body};
use serde_json::{Value, json};

use crate::{
    certificates::Ca,
    go_build::REGISTRY,
    process::{Process, log_file},
    real_node::ADDRESS,
    supervisor::Supervisor,
    tools::Tools,
};

const DISTRIBUTION: &str = "registry";
const REFERRERS: &str = "referrers";
const TOKEN_SERVER: &str = "token-server";
const HTPASSWD: &str = "htpasswd";
/// The issuer and the service of tokens, which the registry compares. `token-server/main.go` contains the issuer.
const TOKEN_ISSUER: &str = "test";
const TOKEN_SERVICE: &str = "registry";
/// All programs write it to their logs, followed by the address.
const LISTENING: &str = "listening on ";

/// The kind of a registry. The default is plain HTTP without authentication and without the referrers API.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Serve HTTPS with a certificate for `127.0.0.1` and `localhost` from a separate CA; see [`Registry::ca_pem`].
    pub tls: bool,
    /// Who has access.
    pub authentication: Authentication,
    /// Serve the referrers API. Not with [`Authentication::Token`].
    pub referrers: bool,
    /// Listen on the address of a real node, which its pods can reach, within [`real_node::isolated`](crate::real_node::isolated). Not with
    /// [`Authentication::Token`], nor with the referrers API.
    pub on_node: bool,
}

impl RegistryOptions {
    fn address(&self) -> &'static str {
        if self.on_node { ADDRESS } else { "127.0.0.1" }
    }
}

/// Builds the programs of registries if they are missing.
pub(crate) fn programs() -> Result<Tools> {
    // All programs at once: those of the module itself take a second.
    Tools::find_programs(&REGISTRY, &[DISTRIBUTION, REFERRERS, TOKEN_SERVER, HTPASSWD])
}

/// How clients of a registry authenticate.
#[derive(Clone, Debug, Default)]
pub enum Authentication {
    /// Everyone has access.
    #[default]
    None,
    /// One user, whose name and password are part of each request.
    Basic {
        /// The name of the user.
        user: String,
        /// The password of the user.
        password: String,
    },
    /// One user, who exchanges name and password for a short-lived token, as on the large public registries.
    Token {
        /// The name of the user.
        user: String,
        /// The password of the user.
        password: String,
        /// Everyone gets a token that permits to pull, as from a public repository.
        anonymous_pull: bool,
    },
}

impl Authentication {
    /// The environment that the programs expect.
    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Authentication::None => Vec::new(),
            Authentication::Basic { user, password } | Authentication::Token { user, password, .. } => {
                vec![("REGISTRY_USER", user.clone()), ("REGISTRY_PASSWORD", password.clone())]
            }
        }
    }
}

/// A running registry on a free port of 127.0.0.1. Dropping it ends its processes and removes its files; so does the end of
/// this process, for any reason.
#[derive(Debug)]
pub struct Registry {
    supervisor: Supervisor,
    processes: Vec<Process>,
    options: RegistryOptions,
    ca: Option<Ca>,
    address: SocketAddr,
}

impl Registry {
    /// Starts an empty registry and waits until it responds. The first call builds its programs if they are missing, which
    /// takes minutes.
    pub async fn start(options: RegistryOptions) -> Result<Registry> {
        if options.referrers && matches!(options.authentication, Authentication::Token { .. }) {
            bail!("the registry with the referrers API does not support token authentication");
        }
        let tools = tokio::task::spawn_blocking(programs).await??;
        let mut registry = Self::prepare(options)?;
        let realm = registry.start_token_server(&tools).await?;
        registry.address = if registry.options.referrers {
            let arguments = registry.certificate_arguments(registry.options.tls);
            registry.start_process(&tools, REFERRERS, arguments).await?
        } else {
            registry.configure(&tools, realm.as_deref())?;
            registry.start_process(&tools, DISTRIBUTION, vec!["serve".to_string(), "config.yaml".to_string()]).await?
        };
        registry.wait().await?;
        Ok(registry)
    }

    /// Creates the folder with the certificates.
    fn prepare(options: RegistryOptions) -> Result<Registry> {
        let supervisor = Supervisor::start()?;
        let folder = supervisor.folder();
        let error = || format!("failed to write into {}", folder.display());
        fs::create_dir(folder.join("logs")).with_context(error)?;
        let mut ca = None;
        if options.tls || matches!(options.authentication, Authentication::Token { .. }) {
            let created = Ca::new().context("failed to create certificates")?;
            let server = created.for_server("registry", ["127.0.0.1", "localhost", ADDRESS])?;
            for (name, text) in
                [("ca.crt", created.certificate()), ("server.crt", &server.certificate), ("server.key", &server.key)]
            {
                fs::write(folder.join(name), text).with_context(error)?;
            }
            ca = Some(created);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self { supervisor, processes: Vec::new(), options, ca, address })
    }

    /// Starts the token server if there is one, and returns its URL.
    async fn start_token_server(&mut self, tools: &Tools) -> Result<Option<String>> {
        let Authentication::Token { anonymous_pull, .. } = self.options.authentication else { return Ok(None) };
        let mut arguments = self.certificate_arguments(true);
        arguments.push(format!("--tls={}", self.options.tls));
        arguments.push(format!("--anonymous-pull={anonymous_pull}"));
        let address = self.start_process(tools, TOKEN_SERVER, arguments).await?;
        Ok(Some(format!("{}://{address}/token", self.scheme())))
    }

    fn certificate_arguments(&self, wanted: bool) -> Vec<String> {
        let arguments = ["--certificate=server.crt", "--key=server.key"];
        arguments.into_iter().filter(|_| wanted).map(str::to_string).collect()
    }

    /// Writes the configuration of distribution.
    fn configure(&self, tools: &Tools, realm: Option<&str>) -> Result<()> {
        let mut configuration = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": "storage" }, "delete": { "enabled": true } },
            "http": { "addr": format!("{}:0", self.options.address()) },
        });
        if self.options.tls {
            configuration["http"]["tls"] = json!({ "certificate": "server.crt", "key": "server.key" });
        }
        match self.options.authentication {
            Authentication::None => {}
            Authentication::Basic { .. } => {
                self.write_htpasswd(&tools.path(HTPASSWD)?)?;
                configuration["auth"] = json!({ "htpasswd": { "realm": "test registry", "path": "htpasswd" } });
            }
            Authentication::Token { .. } => {
                configuration["auth"] = json!({ "token": {
                    "realm": realm,
                    "service": TOKEN_SERVICE,
                    "issuer": TOKEN_ISSUER,
                    "rootcertbundle": "ca.crt",
                } });
            }
        }
        self.write("config.yaml", &configuration)
    }

    fn write(&self, name: &str, contents: &Value) -> Result<()> {
        let path = self.folder().join(name);
        let text = serde_norway::to_string(contents)?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// Writes the user and the hash of the password. The registry accepts only bcrypt hashes.
    fn write_htpasswd(&self, program: &Path) -> Result<()> {
        let mut command = Command::new(program);
        let Output { status, stdout, stderr } = command
            .envs(self.options.authentication.environment())
            .output()
            .with_context(|| format!("failed to start {}", program.display()))?;
        ensure!(status.success(), "{HTPASSWD} failed ({status}): {}", String::from_utf8_lossy(&stderr));
        fs::write(self.folder().join("htpasswd"), stdout).context("failed to write the htpasswd file")
    }

    /// Starts a program and returns the address that it listens on. The program selects the port: a port that is selected
    /// here could be in use by another process until the program binds it.
    async fn start_process(&mut self, tools: &Tools, name: &'static str, arguments: Vec<String>) -> Result<SocketAddr> {
        let mut environment = self.options.authentication.environment();
        // By default distribution sends traces to a collector on this machine.
        environment.push(("OTEL_TRACES_EXPORTER", "none".to_string()));
        let process = Process {
            name,
            program: tools.path(name)?,
            arguments,
            environment,
            folder: self.folder().to_path_buf(),
            group: self.supervisor.group(),
            child: Mutex::new(None),
        };
        process.start()?;
        let log = log_file(self.folder(), name);
        let address = process.wait_for(|| async { address(&fs::read_to_string(&log)?) }).await;
        self.processes.push(process);
        address
    }

    /// Waits until the registry responds.
    async fn wait(&self) -> Result<()> {
        let process = self.processes.last().context("no process was started")?;
        let expected = match self.options.authentication {
            Authentication::None => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        };
        process
            .wait_for(|| async {
                let status = self.send(Request::get("/v2/").body(Vec::new())?).await?.status();
                ensure!(status == expected, "it responds with {status} instead of {expected}");
                Ok(())
            })
            .await
    }

    /// Returns the address as in references to artifacts: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.options.tls { "https" } else { "http" }
    }

    /// Returns the certificate of the CA as PEM text, or `None` if the registry serves plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_ref().filter(|_| self.options.tls).map(Ca::certificate)
    }

    /// Sends a request and returns the response whatever its status is. The URL of `request` is a path of the registry such as
    /// `/v2/`, or the complete URL of its token server. Credentials are only those that `request` contains.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>> {
        let host = request.uri().authority().map_or_else(|| self.host(), ToString::to_string);
        let mut config = Config::new(format!("{}://{host}", self.scheme()).parse()?);
        config.root_cert_file = self.options.tls.then(|| self.folder().join("ca.crt"));
        // Bound to the current tokio runtime, so it cannot be kept.
        let client = Client::try_from(config).context("failed to create an HTTP client")?;
        let (parts, body) = client.send(request.map(Body::from)).await?.into_parts();
        Ok(Response::from_parts(parts, body.collect_bytes().await?.to_vec()))
    }

    /// Returns the log of the registry, which has a line for each request.
    pub fn log(&self) -> Result<String> {
        let path = self.processes.last().context("no process was started")?.log_file();
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// Returns the folder with all files of this registry.
    pub fn folder(&self) -> &Path {
        self.supervisor.folder()
    }

    /// Returns the ids of all running processes of this registry, including those of its supervisor.
    pub fn process_ids(&self) -> Vec<u32> {
        self.processes.iter().filter_map(Process::id).chain(self.supervisor.process_ids()).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.supervisor.take_down();
        for process in &self.processes {
            process.collect();
        }
    }
}

/// Returns the address in a log.
fn address(log: &str) -> Result<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING).context("it does not listen yet")?;
    let end = rest.find(|character: char| !matches!(character, '0'..='9' | '.' | ':')).context("incomplete line")?;
    rest[..end].parse().with_context(|| format!("invalid address {:?}", &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_logs_of_all_programs() {
        let expected = SocketAddr::from(([127, 0, 0, 1], 4711));
        for log in [
            "2026/01/01 12:00:00 listening on 127.0.0.1:4711\n",
            "time=\"\" level=info msg=\"listening on 127.0.0.1:4711\" version=v3\n",
            "time=\"\" level=info msg=\"listening on 127.0.0.1:4711, tls\" version=v3\n",
        ] {
            assert_eq!(address(log).expect("an address"), expected);
        }
        address("").expect_err("no line");
        address("2026/01/01 12:00:00 listening on 127.0.0.1:47").expect_err("half a line");
    }
}
