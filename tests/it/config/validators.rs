//! The validators of tokens in the configuration.

use super::*;

/// The mistakes in the site's file with these validators.
fn with_validators(validators: &str) -> Result<Loaded, ConfigError> {
    read(&site().replacen("    issuer:", &format!("    validators: {validators}\n    issuer:"), 1))
}

#[test]
fn the_kinds_of_tokens_are_an_ordered_list_and_json_web_tokens_alone_without_one() {
    use goldcrest::authn::ValidatorConfig;
    let names = |loaded: &Loaded| {
        let name = |validator: &ValidatorConfig| match validator {
            ValidatorConfig::Jwt => "jwt".to_owned(),
            ValidatorConfig::Jupyterhub(hub) => format!("{} {:?} {}", hub.api_url, hub.scopes, hub.cache_seconds),
            ValidatorConfig::Introspection(section) => format!("{} {}", section.url, section.username_claim),
        };
        loaded.config.auth.authentication.validators.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&read(&site()).unwrap()), ["jwt"]);
    let hub = "{type: jupyterhub, api_url: 'http://hub/hub/api', scopes: ['access:services!service=goldcrest']}";
    let introspection =
        "{type: introspection, url: 'https://id/introspect', client_id: goldcrest, client_secret: x, audience: [goldcrest]}";
    let loaded = with_validators(&format!("[{hub}, {{type: jwt}}, {introspection}]")).unwrap();
    let expected = ["http://hub/hub/api [\"access:services!service=goldcrest\"] 60", "jwt", "https://id/introspect username"];
    assert_eq!(names(&loaded), expected);
    assert!(warnings(&loaded).iter().all(|warning| !warning.contains("validators")), "{:?}", loaded.warnings);

    // Without JSON Web Tokens, neither keys nor a token endpoint are needed.
    let text = site().replacen("    token_url: https://idp.example.org/token\n    public_certs: [https://idp.example.org/certs]\n", "", 1);
    let loaded = read(&text.replacen("    issuer:", &format!("    validators: [{hub}]\n    issuer:"), 1)).unwrap();
    assert_eq!(loaded.config.auth.authentication.token_url, None);
}

#[test]
fn a_mistake_in_the_validators_names_its_key_and_what_is_allowed() {
    let told = |validators: &str| with_validators(validators).unwrap_err().to_string();
    let path = "line 5: auth.authentication.validators";
    for (validators, expected) in [
        ("[]", format!("{path}: is empty: no token could be verified (allowed: a list of sections with the key `type`)")),
        ("[{type: hub}]", format!("{path}[0].type: is none of the values allowed: `hub` (allowed: jwt | jupyterhub | introspection)")),
        ("[{}]", format!("{path}[0].type: is missing (allowed: jwt | jupyterhub | introspection)")),
        ("[{type: jupyterhub}]", format!("{path}[0].api_url: is missing (allowed: a text)")),
        (
            "[{type: jwt}, {type: jwt}]",
            format!("{path}[1].type: is there already: the keys of JSON Web Tokens are those of auth.authentication"),
        ),
        (
            "[{type: jupyterhub, api_url: 'http://hub', scopes: ['a b']}]",
            format!("{path}[0].scopes[0]: is no scope (allowed: such as access:services!service=goldcrest)"),
        ),
        (
            "[{type: jupyterhub, api_url: 'http://hub', cache_seconds: 3601}]",
            format!("{path}[0].cache_seconds: is not of the right kind: `3601` (allowed: a whole number"),
        ),
    ] {
        assert!(told(validators).contains(&expected), "{validators}: {}", told(validators));
    }
    let url = told("[{type: jwt}, {type: introspection, url: id/introspect, client_id: '', client_secret: hunter2}]");
    assert!(url.contains("validators[1].url: not a usable URL") && url.contains("validators[1].client_id: is empty"), "{url}");
    assert!(!url.contains("hunter2"), "{url}");
    let missing = mistakes_with("    token_url: https://idp.example.org/token\n", "");
    assert_eq!(missing, "line 2: auth.authentication.token_url: is missing (allowed: a text)");
    let open = with_validators("[{type: jwt}, {type: jupyterhub, api_url: 'http://hub'}]").unwrap();
    assert!(warnings(&open).iter().any(|warning| warning.contains("validators[1].scopes: is empty")), "{:?}", open.warnings);
}

/// The variables that JupyterHub 6 sets for a service.
const HUB_VARIABLES: [(&str, &str); 7] = [
    ("JUPYTERHUB_API_TOKEN", "hunter2"),
    ("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/jupyter/hub/api"),
    ("JUPYTERHUB_BASE_URL", "/jupyter/"),
    ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", r#"["access:services", "access:services!service=goldcrest"]"#),
    ("JUPYTERHUB_SERVICE_NAME", "goldcrest"),
    ("JUPYTERHUB_SERVICE_PREFIX", "/jupyter/services/goldcrest/"),
    ("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:10101"),
];

#[test]
fn the_variables_of_a_hub_are_taken_where_the_file_says_that_it_is_a_service() {
    use goldcrest::authn::ValidatorConfig;
    let text = |section: &str| site().replacen("    issuer:", &format!("    validators: [{{type: jwt}}, {section}]\n    issuer:"), 1);
    let load = |text: &str, variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        config::from_yaml(text, variables.into_iter())
    };
    let hub = |loaded: &Loaded| match &loaded.config.auth.authentication.validators[1] {
        ValidatorConfig::Jupyterhub(hub) => hub.clone(),
        other => panic!("{other:?}"),
    };
    let loaded = load(&text("{type: jupyterhub, as_service: true}"), &HUB_VARIABLES).unwrap();
    let config = hub(&loaded);
    assert_eq!(config.api_url, "http://127.0.0.1:8081/jupyter/hub/api");
    assert_eq!(config.scopes, ["access:services", "access:services!service=goldcrest"]);
    assert_eq!(config.api_token.unwrap().expose(), "hunter2");
    assert_eq!(loaded.config.apis_root_path, "/jupyter/services/goldcrest");
    assert_eq!(loaded.config.server.listen.to_string(), "127.0.0.1:10101");

    // What the file says is left as it is.
    let own = "{type: jupyterhub, as_service: yes, api_url: 'http://hub/api', scopes: [own]}";
    let loaded = load(&format!("apis_root_path: /own\n{}server:\n  listen: 127.0.0.1:9\n", text(own)), &HUB_VARIABLES).unwrap();
    assert_eq!((hub(&loaded).api_url, hub(&loaded).scopes), ("http://hub/api".to_owned(), vec!["own".to_owned()]));
    assert_eq!((loaded.config.apis_root_path.as_str(), loaded.config.server.listen.port()), ("/own", 9));

    // Only where it says so.
    let loaded = load(&text("{type: jupyterhub, api_url: 'http://hub/api'}"), &HUB_VARIABLES).unwrap();
    assert_eq!((hub(&loaded).scopes.len(), loaded.config.apis_root_path.as_str()), (0, ""));

    // Without scopes of its own, it is the service's scope.
    let named: Vec<_> = HUB_VARIABLES.into_iter().filter(|(name, _)| !name.contains("OAUTH")).collect();
    let loaded = load(&text("{type: jupyterhub, as_service: true}"), &named).unwrap();
    assert_eq!(hub(&loaded).scopes, ["access:services!service=goldcrest"]);

    // What is wrong is named with its variable, and never with the secret.
    let wrong: Vec<_> = HUB_VARIABLES
        .into_iter()
        .map(|(name, value)| match name {
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES" | "JUPYTERHUB_SERVICE_URL" => (name, "https://goldcrest"),
            _ => (name, value),
        })
        .collect();
    let error = load(&text("{type: jupyterhub, as_service: true}"), &wrong).unwrap_err().to_string();
    for expected in [
        "environment variable JUPYTERHUB_OAUTH_ACCESS_SCOPES: is not of the right kind (allowed: a JSON list of texts)",
        "environment variable JUPYTERHUB_SERVICE_URL: server.listen: is no address to listen on (allowed: such as http://127.0.0.1:10101)",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
    let absent = load(&text("{type: jupyterhub, as_service: true}"), &[]).unwrap_err().to_string();
    assert!(absent.contains("validators[1].api_url: is missing"), "{absent}");
}
