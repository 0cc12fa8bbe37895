//! The registries: what each kind answers, and that nothing is left of them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use http::{Request, Response, StatusCode, header};
use serde_json::Value;
use test_cluster::registry::{Authentication, Registry, RegistryOptions};

/// `jane:secret` in Base64.
const CREDENTIAL: &str = "Basic amFuZTpzZWNyZXQ=";
/// `jane:wrong` in Base64.
const WRONG_CREDENTIAL: &str = "Basic amFuZTp3cm9uZw==";

fn basic() -> Authentication {
    Authentication::Basic { user: "jane".to_string(), password: "secret".to_string() }
}

fn token(anonymous_pull: bool) -> Authentication {
    Authentication::Token { user: "jane".to_string(), password: "secret".to_string(), anonymous_pull }
}

async fn get(registry: &Registry, path: &str, authorization: Option<&str>) -> Result<Response<Vec<u8>>> {
    let mut request = Request::get(path);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    registry.send(request.body(Vec::new())?).await
}

/// Returns the status of a request for `path` with these credentials.
async fn status(registry: &Registry, path: &str, authorization: Option<&str>) -> Result<StatusCode> {
    Ok(get(registry, path, authorization).await?.status())
}

/// Requests a token for the repository `checks/labels` from the token server that the registry names.
async fn request_token(registry: &Registry, authorization: Option<&str>) -> Result<Response<Vec<u8>>> {
    let response = get(registry, "/v2/", None).await?;
    let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str()?.to_string();
    let value = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let realm = value("realm").context("the challenge has no realm")?;
    let service = value("service").context("the challenge has no service")?;
    let url = format!("{realm}?service={service}&scope=repository:checks/labels:pull,push");
    get(registry, &url, authorization).await
}

/// Returns the value of the Authorization header with the token in a response of the token server.
fn bearer(response: &Response<Vec<u8>>) -> Result<String> {
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = serde_json::from_slice(response.body())?;
    Ok(format!("Bearer {}", answer["token"].as_str().context("no token")?))
}

/// Starts to upload a blob to the repository `checks/labels`, which needs the permission to push.
async fn upload(registry: &Registry, authorization: &str) -> Result<StatusCode> {
    let request = Request::post("/v2/checks/labels/blobs/uploads/").header(header::AUTHORIZATION, authorization);
    Ok(registry.send(request.body(Vec::new())?).await?.status())
}

#[tokio::test]
async fn everyone_has_access_without_authentication() -> Result<()> {
    for (tls, referrers) in [(false, false), (true, false), (false, true), (true, true)] {
        let options = RegistryOptions { tls, referrers, ..RegistryOptions::default() };
        let registry = Registry::start(options).await?;
        assert_eq!(status(&registry, "/v2/", None).await?, StatusCode::OK, "tls: {tls}, referrers: {referrers}");
        assert_eq!(registry.ca_pem().is_some(), tls);
        assert!(registry.log()?.contains("GET /v2/"), "{}", registry.log()?);
    }
    Ok(())
}

#[tokio::test]
async fn basic_authentication_requires_the_password() -> Result<()> {
    for (tls, referrers) in [(false, false), (true, false), (false, true), (true, true)] {
        let registry =
            Registry::start(RegistryOptions { tls, authentication: basic(), referrers, on_node: false }).await?;
        let response = get(&registry, "/v2/", None).await?;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"test registry\"");
        assert_eq!(status(&registry, "/v2/", Some(WRONG_CREDENTIAL)).await?, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&registry, "/v2/", Some(CREDENTIAL)).await?, StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn token_authentication_requires_a_token_of_the_token_server() -> Result<()> {
    for tls in [false, true] {
        let registry =
            Registry::start(RegistryOptions { tls, authentication: token(false), ..RegistryOptions::default() })
                .await?;
        assert_eq!(status(&registry, "/v2/", Some(CREDENTIAL)).await?, StatusCode::UNAUTHORIZED);
        assert_eq!(request_token(&registry, None).await?.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(request_token(&registry, Some(WRONG_CREDENTIAL)).await?.status(), StatusCode::UNAUTHORIZED);

        let token = bearer(&request_token(&registry, Some(CREDENTIAL)).await?)?;
        assert_eq!(status(&registry, "/v2/", Some(&token)).await?, StatusCode::OK);
        let catalog = "/v2/_catalog";
        assert_eq!(status(&registry, catalog, Some(&token)).await?, StatusCode::UNAUTHORIZED, "it is not in the scope");
        assert_eq!(upload(&registry, &token).await?, StatusCode::ACCEPTED);
    }
    Ok(())
}

#[tokio::test]
async fn an_anonymous_token_permits_only_to_pull() -> Result<()> {
    let options = RegistryOptions { authentication: token(true), ..RegistryOptions::default() };
    let registry = Registry::start(options).await?;
    let token = bearer(&request_token(&registry, None).await?)?;
    let manifest = "/v2/checks/labels/manifests/1.0";
    assert_eq!(status(&registry, manifest, Some(&token)).await?, StatusCode::NOT_FOUND);
    assert_eq!(upload(&registry, &token).await?, StatusCode::UNAUTHORIZED);
    let token = bearer(&request_token(&registry, Some(CREDENTIAL)).await?)?;
    assert_eq!(upload(&registry, &token).await?, StatusCode::ACCEPTED);
    Ok(())
}

#[tokio::test]
async fn only_the_registry_with_referrers_has_the_referrers_api() -> Result<()> {
    let path = format!("/v2/checks/labels/referrers/sha256:{}", "0".repeat(64));
    for (referrers, expected) in [(false, StatusCode::NOT_FOUND), (true, StatusCode::OK)] {
        let registry = Registry::start(RegistryOptions { referrers, ..RegistryOptions::default() }).await?;
        if referrers {
            // A repository exists from its first manifest.
            let request = Request::put("/v2/checks/labels/manifests/1.0")
                .header(header::CONTENT_TYPE, "application/vnd.oci.image.index.v1+json")
                .body(br#"{"schemaVersion":2,"manifests":[]}"#.to_vec())?;
            assert_eq!(registry.send(request).await?.status(), StatusCode::CREATED);
        }
        assert_eq!(status(&registry, &path, None).await?, expected);
    }
    let options = RegistryOptions { authentication: token(false), referrers: true, ..RegistryOptions::default() };
    let error = Registry::start(options).await.expect_err("it is not supported").to_string();
    assert!(error.contains("does not support token authentication"), "{error}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_when_a_registry_is_dropped() -> Result<()> {
    let options = RegistryOptions { authentication: token(false), ..RegistryOptions::default() };
    let registry = Registry::start(options).await?;
    let folder = registry.folder().to_path_buf();
    let processes: Vec<PathBuf> =
        registry.process_ids().iter().map(|id| PathBuf::from(format!("/proc/{id}"))).collect();
    // The registry, the token server and the two processes of the supervisor.
    assert_eq!(processes.len(), 4);
    assert!(processes.iter().all(|process| process.exists()));
    drop(registry);
    // Everything is removed when the drop returns, not some time later.
    assert!(!folder.exists());
    assert!(!processes.iter().any(|process| process.exists()));
    Ok(())
}
