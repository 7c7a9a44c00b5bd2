//! The tokens of service accounts, from the issuer of the demonstration.

use super::*;

fn development_issuer(url: &str) -> DevelopmentIssuer {
    let client = DevelopmentClient {
        id: "health check".to_owned(),
        secret: Secret::from("p@ss:w/rd&".to_owned()),
        username: Username::new("firesrv").unwrap(),
        email: None,
        groups: vec!["operators".to_owned()],
    };
    DevelopmentIssuer::new(url, vec![client]).unwrap()
}

/// The routes of a provider over a development issuer, and a configuration that trusts it.
async fn provider() -> (Service, Config) {
    let issuer = development_issuer(ISSUER);
    let service = Service::start(move |seen| match seen.uri.path() {
        "/certs" => Reply::json(&issuer.jwks()),
        _ => {
            let body = String::from_utf8(seen.body.to_vec()).unwrap();
            assert!(body.contains("grant_type=client_credentials"), "{body}");
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let (id, secret) = match seen.header("authorization").and_then(|value| value.strip_prefix("Basic ")) {
                Some(pair) => {
                    let pair = base64::engine::general_purpose::STANDARD.decode(pair).unwrap();
                    let pair = String::from_utf8(pair).unwrap();
                    let (id, secret) = pair.split_once(':').unwrap();
                    (decode(id), decode(secret))
                }
                None => {
                    let field = |name: &str| {
                        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
                        pairs.map(|(key, value)| (decode(key), decode(value))).find(|(key, _)| key == name).unwrap().1
                    };
                    (field("client_id"), field("client_secret"))
                }
            };
            match issuer.token(&id, &Secret::from(secret)) {
                Ok(token) => Reply::json(&json!({
                    "access_token": token.access_token.expose(), "expires_in": token.expires_in, "token_type": "Bearer",
                })),
                Err(_) => Reply::status(401, r#"{"error": "invalid_client", "error_description": "hunter2"}"#),
            }
        }
    })
    .await;
    let config = config(&service.url);
    (service, config)
}

fn account(config: &Config, secret: &str) -> ServiceAccountTokens {
    let client = Client::new().unwrap();
    let authenticator = authenticator(config.clone());
    ServiceAccountTokens::new(config, "health check", Secret::from(secret.to_owned()), client, authenticator).unwrap()
}

#[tokio::test]
async fn a_service_account_gets_its_token_once_for_everybody() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let (service, mut config) = provider().await;
        config.token_endpoint_auth_method = serde_json::from_value(json!(method)).unwrap();
        let account = account(&config, "p@ss:w/rd&");
        let principals = futures::future::join_all((0..10).map(|_| account.principal())).await;
        for principal in principals {
            let principal = principal.unwrap();
            assert_eq!(principal.username.as_str(), "firesrv");
            assert!(principal.is_service_account);
        }
        account.principal().await.unwrap();
        let asked = service.seen().iter().filter(|seen| seen.uri.path() == "/token").count();
        assert_eq!(asked, 1, "{method}");
    }
}

#[tokio::test]
async fn a_refused_service_account_is_told_why_and_nothing_else() {
    let (_service, config) = provider().await;
    let error = account(&config, "wrong").principal().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let shown = format!("{} {error:?}", ErrorChain(&error));
    assert!(shown.contains("refused the client: invalid_client"), "{shown}");
    assert!(
        error.public_message().contains(config.token_url.as_deref().unwrap()) && error.public_message().contains("invalid_client"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2") && !shown.contains("wrong"), "{shown}");
}

#[tokio::test]
async fn a_service_accounts_token_passes_the_same_checks() {
    let (_service, mut config) = provider().await;
    config.audience = vec!["somebody else".to_owned()];
    let error = account(&config, "p@ss:w/rd&").principal().await.unwrap_err();
    assert!(matches!(error, AuthnError::ServiceAccount(_)));
    assert!(ErrorChain(&error).to_string().contains("another audience"));
}

#[test]
fn the_development_issuer_wants_the_right_secret() {
    let issuer = development_issuer(ISSUER);
    let token = |id: &str, secret: &str| issuer.token(id, &Secret::from(secret.to_owned()));
    assert!(token("health check", "p@ss:w/rd&").is_ok());
    for (id, secret) in [("health check", ""), ("health check", "p@ss"), ("nobody", "p@ss:w/rd&"), ("", "")] {
        assert!(matches!(token(id, secret), Err(IssuerError::InvalidClient)), "{id} {secret}");
    }
    assert_eq!(issuer.discovery()["token_endpoint"], "https://idp.example.org/token");
}
