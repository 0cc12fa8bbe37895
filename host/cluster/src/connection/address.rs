//! The address of the API server, and the proxy to it, as kubectl determines them.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;

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

/// Corrects the proxy that was taken from the environment: it applies neither to this machine nor to the hosts in `NO_PROXY`, and
/// its scheme can be missing.
pub fn correct_environment_proxy(config: &mut Config) {
    let Some(proxy) = config.proxy_url.take() else { return };
    let used = Matcher::from_env().intercept(&config.cluster_url).filter(|_| !is_this_machine(&config.cluster_url));
    config.proxy_url = used.map(|used| if proxy.scheme().is_some() { proxy } else { used.uri().clone() });
}

fn is_this_machine(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
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
