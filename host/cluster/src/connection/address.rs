//! The address of the API server, and the proxy to it, as kubectl determines them.

use std::borrow::Cow;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube_devops_oci::is_loopback;

/// Adds the scheme to an address without one: `https` if anything about TLS is configured, else `http`.
/// <https://github.com/kubernetes/client-go/blob/v0.33.0/rest/url_utils.go>
pub fn complete(config: &mut Config) {
    if config.cluster_url.scheme().is_some() {
        return;
    }
    let user = &config.auth_info;
    let has_certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    let is_tls = config.root_cert.is_some() || has_certificate || config.accept_invalid_certs;
    let scheme = if is_tls { "https" } else { "http" };
    let address = config.cluster_url.to_string();
    if let Ok(complete) = format!("{scheme}://{}", address.trim_start_matches('/')).parse() {
        config.cluster_url = complete;
    }
}

/// Returns the proxy of the environment for a server, which applies neither to this machine nor to the hosts in `NO_PROXY`.
pub fn environment_proxy(server: &Uri) -> Option<Uri> {
    Matcher::from_env().intercept(server).filter(|_| !is_this_machine(server))?;
    let names = if server.scheme_str() == Some("https") {
        ["HTTPS_PROXY", "https_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy"]
    };
    let proxy = names.iter().find_map(|name| std::env::var(name).ok().filter(|proxy| !proxy.is_empty()))?;
    with_scheme(&proxy).parse().ok()
}

/// Adds the scheme to a proxy without one, as curl and Go do.
fn with_scheme(proxy: &str) -> Cow<'_, str> {
    if proxy.contains("://") { proxy.into() } else { format!("http://{proxy}").into() }
}

fn is_this_machine(address: &Uri) -> bool {
    address.host().is_some_and(is_loopback)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_uses_tls_if_it_is_configured() {
        let address = |address: &str, change: fn(&mut Config)| {
            let mut config = Config::new(address.parse().unwrap());
            change(&mut config);
            complete(&mut config);
            config.cluster_url.to_string()
        };
        assert_eq!(address("127.0.0.1:6443", |_| {}), "http://127.0.0.1:6443/");
        assert_eq!(
            address("api.example.com:6443", |config| config.root_cert = Some(Vec::new())),
            "https://api.example.com:6443/"
        );
        assert_eq!(address("api:6443", |config| config.accept_invalid_certs = true), "https://api:6443/");
        assert_eq!(
            address("api:6443", |config| config.auth_info.client_certificate = Some("a.pem".to_owned())),
            "https://api:6443/"
        );
        assert_eq!(address("https://api:6443/prefix", |_| {}), "https://api:6443/prefix");
        assert_eq!(address("http://api", |config| config.accept_invalid_certs = true), "http://api/");
    }

    #[test]
    fn a_proxy_without_a_scheme_keeps_its_credentials() {
        assert_eq!(with_scheme("user:pass@proxy:3128"), "http://user:pass@proxy:3128");
        assert_eq!(with_scheme("https://proxy"), "https://proxy");
    }

    #[test]
    fn the_api_server_of_this_machine_has_no_proxy_of_the_environment() {
        for (address, expected) in [
            ("https://127.0.0.1:6443", true),
            ("https://localhost", true),
            ("https://[::1]:6443", true),
            ("https://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_this_machine(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
