//! Valid and invalid tokens, against key sets served on loopback.

mod key_sets;
mod service_accounts;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldcrest::authn::{
    Authenticator, AuthnError, Config, JwtAuthenticator, KeyedAuthenticator, PrincipalSource, ServiceAccountTokens, SetupError,
};
use goldcrest::demo::issuer::{DevelopmentClient, DevelopmentIssuer, IssuerError};
use goldcrest::domain::{Principal, Secret, Username};
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::rest::Client;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::service::{Reply, Service};
use crate::support::{PATIENCE, wait_until};

const ISSUER: &str = "https://idp.example.org";

/// A key pair with its public half as a JWK.
struct Key {
    id: &'static str,
    private: EncodingKey,
    jwk: Value,
}

impl Key {
    fn es256(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        });
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        Self { id, private: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    /// An RSA key that names no algorithm, with the DER form of its public half.
    fn rsa(id: &'static str) -> (Self, Vec<u8>) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({
            "kty": "RSA", "kid": id, "use": "sig",
            "n": part(public.modulus().big_endian_without_leading_zero()),
            "e": part(public.exponent().big_endian_without_leading_zero()),
        });
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", pkcs8.as_ref()).as_bytes()).unwrap();
        (Self { id, private, jwk }, public.as_ref().to_vec())
    }

    fn sign(&self, claims: &Value) -> Secret {
        self.sign_with(&self.header(Algorithm::ES256), claims)
    }

    fn header(&self, algorithm: Algorithm) -> Header {
        Header { kid: Some(self.id.to_owned()), ..Header::new(algorithm) }
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> Secret {
        Secret::from(jsonwebtoken::encode(header, claims, &self.private).unwrap())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<String> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims of a good access token, with some replaced (or, by null, removed).
#[expect(clippy::needless_pass_by_value, reason = "the calls read better with a literal")]
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": ["account", "goldcrest"], "sub": "7d1c", "azp": "portal", "scope": "openid profile",
        "preferred_username": "ann", "email": "ann@example.org", "iat": now() - 10, "exp": now() + 600,
        "realm_access": {"roles": ["users", "testers"]},
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn set(keys: &[&Value]) -> Value {
    json!({"keys": keys})
}

fn config(url: &str) -> Config {
    serde_json::from_value(json!({
        "token_url": format!("{url}/token"), "public_certs": [format!("{url}/certs")],
        "issuer": ISSUER, "audience": ["goldcrest"], "groups_claim": "realm_access.roles",
    }))
    .unwrap()
}

fn authenticator(config: Config) -> Arc<JwtAuthenticator> {
    Arc::new(JwtAuthenticator::new(config, Client::new().unwrap()).unwrap())
}

/// A service that serves one set, and an authenticator over it.
async fn with_set(document: Value) -> (Service, Arc<JwtAuthenticator>) {
    let service = Service::start(move |_| Reply::json(&document)).await;
    let authenticator = authenticator(config(&service.url));
    (service, authenticator)
}

/// Why the token is refused. Fails when it is not, when the reason is no 401, and when the message holds a part of the token.
async fn refusal(authenticator: &JwtAuthenticator, token: &Secret) -> String {
    let error = authenticator.authenticate(token).await.expect_err("the token was accepted");
    assert_eq!(error.kind(), Kind::Unauthenticated);
    let shown = format!("{} {error:?} {}", ErrorChain(&error), error.public_message());
    for part in token.expose().split('.').filter(|part| part.len() > 4) {
        assert!(!shown.contains(part), "the message repeats the token: {shown}");
    }
    error.to_string()
}

#[tokio::test]
async fn a_good_token_becomes_a_principal() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let claims = claims(json!({}));
    let token = key.sign(&claims);
    let principal: Arc<Principal> = authenticator.authenticate(&token).await.unwrap();
    assert_eq!(principal.username.as_str(), "ann");
    assert_eq!(principal.subject, "7d1c");
    assert_eq!(principal.client_id.as_deref(), Some("portal"));
    assert_eq!(principal.email.as_deref(), Some("ann@example.org"));
    assert_eq!(principal.groups, ["users", "testers"]);
    assert_eq!(principal.scopes, ["openid", "profile"]);
    assert_eq!(principal.expires_at.as_second(), claims["exp"].as_i64().unwrap());
    assert_eq!(principal.token.expose(), token.expose());
}

#[tokio::test]
async fn times_are_checked() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let refused = async |changes: Value| refusal(&authenticator, &key.sign(&claims(changes))).await;
    assert_eq!(refused(json!({"exp": now() - 6})).await, "the access token is not valid: it has expired");
    assert_eq!(refused(json!({"exp": null})).await, "the access token is not valid: it does not say when it expires");
    assert_eq!(refused(json!({"nbf": now() + 60})).await, "the access token is not valid: it is not valid yet");
    assert!(refused(json!({"iat": now() + 60})).await.contains("issued in the future"));
    for nonsense in [json!("soon"), json!(-1), json!(true), json!([1])] {
        assert_eq!(refused(json!({"exp": nonsense})).await, "the access token is not valid: a time in it is no time");
    }
    assert!(refused(json!({"exp": now() + 20})).await.contains("at least 30 s are required"));
    // Within the leeway, it has ended nevertheless.
    let ended = refused(json!({"exp": now() - 2})).await;
    assert!(ended.starts_with("the access token ended ") && ended.contains(" s ago, at least 30 s"), "{ended}");
    // Within the leeway of five seconds, and far ahead, as fractions and beyond any calendar.
    for good in [json!({"nbf": now() + 3}), json!({"iat": now() + 3}), json!({"exp": 1e300}), json!({"exp": u64::MAX})] {
        authenticator.authenticate(&key.sign(&claims(good))).await.unwrap();
    }
}

#[tokio::test]
async fn the_issuer_and_the_audience_are_checked() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    for other in [json!("https://idp.example.org/"), json!(null), json!(["https://idp.example.org"])] {
        let message = refusal(&authenticator, &key.sign(&claims(json!({"iss": &other})))).await;
        let (seen, wanted) = (other.as_str().unwrap_or("nobody"), "https://idp.example.org");
        let expected = format!("it comes from another issuer, {seen}; this service takes tokens of {wanted}");
        assert_eq!(message, format!("the access token is not valid: {expected}"));
    }
    for (other, seen) in [
        (json!("other"), "other"),
        (json!(["other", "a third"]), "other, a third"),
        (json!([]), "nobody"),
        (json!(null), "nobody"),
        (json!({"goldcrest": 1}), "nobody"),
        (json!("goldcrest2"), "goldcrest2"),
    ] {
        let message = refusal(&authenticator, &key.sign(&claims(json!({"aud": other})))).await;
        let expected = format!("it is meant for another audience, {seen}; this service takes tokens for goldcrest");
        assert_eq!(message, format!("the access token is not valid: {expected}"));
    }
    authenticator.authenticate(&key.sign(&claims(json!({"aud": "goldcrest"})))).await.unwrap();
}

#[tokio::test]
async fn id_tokens_and_other_kinds_of_tokens_are_refused() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    for id_token in [json!({"nonce": "n"}), json!({"at_hash": "h"}), json!({"c_hash": "h"}), json!({"at_hash": "h", "typ": "Bearer"})] {
        let message = refusal(&authenticator, &key.sign(&claims(id_token))).await;
        assert_eq!(message, "the access token is not valid: it is an ID token: send the access token");
    }
    for other in [json!({"typ": "ID"}), json!({"typ": "Refresh"}), json!({"typ": "Logout"})] {
        assert!(refusal(&authenticator, &key.sign(&claims(other))).await.contains("another kind of token"));
    }
    for other in
        [json!({"token_use": "refresh_token"}), json!({"token_use": "id"}), json!({"token_type": "DPoP"}), json!({"token_type": 1})]
    {
        assert!(refusal(&authenticator, &key.sign(&claims(other))).await.contains("another kind of token"));
    }
    for access in [json!({"token_use": "access"}), json!({"token_type": "Bearer"}), json!({"token_type": null})] {
        authenticator.authenticate(&key.sign(&claims(access))).await.unwrap();
    }
    for kind in ["logout+jwt", "secevent+jwt", "dpop+jwt"] {
        let header = Header { typ: Some(kind.to_owned()), ..key.header(Algorithm::ES256) };
        assert!(refusal(&authenticator, &key.sign_with(&header, &claims(json!({})))).await.contains("another kind of token"));
    }
    for kind in [Some("at+jwt"), Some("application/at+jwt"), Some("AT+JWT"), Some("JWT"), None] {
        let header = Header { typ: kind.map(str::to_owned), ..key.header(Algorithm::ES256) };
        authenticator.authenticate(&key.sign_with(&header, &claims(json!({})))).await.unwrap();
    }
    // Keycloak before 24 puts the nonce into access tokens, which it marks as such.
    authenticator.authenticate(&key.sign(&claims(json!({"nonce": "n", "typ": "Bearer"})))).await.unwrap();
}

#[tokio::test]
async fn the_user_name_is_validated() {
    let unusable = "it has no usable user name in the claim `preferred_username` (auth.authentication.username_claim)";
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    for name in
        [json!("-oProxyCommand=id"), json!("a b"), json!("a;id"), json!(""), json!("a\nb"), json!("x".repeat(300)), json!("."), json!("..")]
    {
        let message = refusal(&authenticator, &key.sign(&claims(json!({"preferred_username": name})))).await;
        assert_eq!(message, format!("the access token is not valid: {unusable}"));
    }
    for name in [json!(null), json!(7), json!(["ann"])] {
        let message = refusal(&authenticator, &key.sign(&claims(json!({"preferred_username": name})))).await;
        assert_eq!(message, format!("the access token is not valid: {unusable}"));
    }
}

#[tokio::test]
async fn the_header_cannot_choose_another_algorithm() {
    let (key, der) = Key::rsa("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    for algorithm in [Algorithm::RS256, Algorithm::PS384] {
        authenticator.authenticate(&key.sign_with(&key.header(algorithm), &claims(json!({})))).await.unwrap();
    }
    // The public key as the secret of an HMAC: in its DER and PEM forms, its JWK, and its modulus.
    let pem = pem("PUBLIC KEY", &der);
    let modulus = URL_SAFE_NO_PAD.decode(key.jwk["n"].as_str().unwrap()).unwrap();
    for secret in [der, pem.into_bytes(), key.jwk.to_string().into_bytes(), modulus, Vec::new()] {
        let forged = jsonwebtoken::encode(&key.header(Algorithm::HS256), &claims(json!({})), &EncodingKey::from_secret(&secret));
        let message = refusal(&authenticator, &Secret::from(forged.unwrap())).await;
        assert_eq!(message, "the access token is not valid: its signature is not valid");
    }
    for alg in ["none", "None", "NONE", "HS256", "ES256", "EdDSA", "", "RS256 "] {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let unsigned = format!("{}.{}.", part(json!({"alg": alg, "kid": "k1"})), part(claims(json!({}))));
        refusal(&authenticator, &Secret::from(unsigned.clone())).await;
        refusal(&authenticator, &Secret::from(unsigned + "AAAA")).await;
    }
}

#[tokio::test]
async fn a_configured_algorithm_binds_keys_that_name_none() {
    let (key, _) = Key::rsa("k1");
    let service = {
        let jwk = set(&[&key.jwk]);
        Service::start(move |_| Reply::json(&jwk)).await
    };
    let mut configured = config(&service.url);
    configured.jwk_algorithm = Some("RS512".to_owned());
    let authenticator = authenticator(configured);
    authenticator.authenticate(&key.sign_with(&key.header(Algorithm::RS512), &claims(json!({})))).await.unwrap();
    refusal(&authenticator, &key.sign_with(&key.header(Algorithm::RS256), &claims(json!({})))).await;
}

#[tokio::test]
async fn a_token_does_not_bring_its_key_and_no_extension_is_ignored() {
    let (key, attacker) = (Key::es256("k1"), Key::es256("k1"));
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let header = Header {
        jwk: Some(serde_json::from_value(attacker.jwk.clone()).unwrap()),
        jku: Some("https://attacker.example.org/certs".to_owned()),
        ..attacker.header(Algorithm::ES256)
    };
    let message = refusal(&authenticator, &attacker.sign_with(&header, &claims(json!({})))).await;
    assert_eq!(message, "the access token is not valid: its signature is not valid");
    let header = Header { crit: Some(vec!["b64".to_owned()]), ..key.header(Algorithm::ES256) };
    assert!(refusal(&authenticator, &key.sign_with(&header, &claims(json!({})))).await.contains("extension"));
    for crit in ["null", "[]", "false", "\"b64\""] {
        let token = signed_raw(&key, &format!(r#"{{"alg":"ES256","kid":"k1","crit":{crit}}}"#));
        assert!(refusal(&authenticator, &token).await.contains("extension"), "{crit}");
    }
    // A header that is no object but lists the values of one.
    assert!(refusal(&authenticator, &signed_raw(&key, r#"["ES256","k1",null]"#)).await.contains("not a JSON Web Token"));
}

/// A good token of that key under a header of any form.
fn signed_raw(key: &Key, header: &str) -> Secret {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims(json!({})).to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.private, Algorithm::ES256).unwrap();
    Secret::from(format!("{message}.{signature}"))
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_of_its_client_is_refused() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    for cnf in [
        json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
        json!({}),
    ] {
        for typ in ["Bearer", "DPoP"] {
            let message = refusal(&authenticator, &key.sign(&claims(json!({"cnf": cnf, "typ": typ})))).await;
            assert!(message.contains("bound to a key of its client (cnf)"), "{message}");
        }
    }
}

#[tokio::test]
async fn system_accounts_are_nobodys_user_names() {
    let key = Key::es256("k1");
    let (service, authenticator) = with_set(set(&[&key.jwk])).await;
    let named = |name: &str| key.sign(&claims(json!({"preferred_username": name})));
    for name in ["root", "ROOT", "root@local", "daemon", "slurm", "munge", "nobody", "0", "+0", "999", "00"] {
        let error = authenticator.authenticate(&named(name)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Forbidden, "{name}");
        assert!(error.to_string().contains("auth.authentication.refused_usernames"), "{error}");
    }
    for name in ["rooty", "ann.root", "1000", "2024531"] {
        authenticator.authenticate(&named(name)).await.unwrap();
    }

    let mut own = config(&service.url);
    own.refused_usernames = vec!["operator7".to_owned()];
    own.username_pattern = Some(serde_json::from_value(json!("[a-z]+[0-9]?")).unwrap());
    let own = self::authenticator(own);
    own.authenticate(&named("ann")).await.unwrap();
    own.authenticate(&named("root")).await.unwrap();
    for (name, why) in
        [("operator7", "refused_usernames"), ("ann.b", "username_pattern"), ("7ann", "username_pattern"), ("ann77", "username_pattern")]
    {
        let error = own.authenticate(&named(name)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Forbidden, "{name}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(serde_json::from_value::<goldcrest::authn::UsernamePattern>(json!("[a-z")).is_err());
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_so() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let groups: Vec<String> = (0..2000).map(|number| format!("group-{number}")).collect();
    let message = refusal(&authenticator, &key.sign(&claims(json!({"groups": groups})))).await;
    assert!(message.contains("at most 16384 are accepted") && message.contains("leave out claims"), "{message}");
}

#[tokio::test]
async fn whatever_a_header_names_is_neither_read_nor_called() {
    let (key, _) = Key::rsa("k1");
    let attacker = Service::start(|_| Reply::status(200, "")).await;
    let (service, authenticator) = with_set(set(&[&key.jwk])).await;
    let genuine = key.sign_with(&key.header(Algorithm::RS256), &claims(json!({})));
    authenticator.authenticate(&genuine).await.unwrap();
    let (message, signature) = genuine.expose().rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;
    let known = json!({"alg": "RS256", "kid": "k1"});
    let with = |name: &str, value: Value| {
        let mut header = known.clone();
        header[name] = value;
        header.to_string()
    };
    let mut headers = vec![
        with("kid", json!("../../../../etc/passwd")),
        with("kid", json!("file:///dev/null")),
        with("kid", json!(attacker.url)),
        with("kid", json!("' OR 1=1 --")),
        with("kid", json!("k1\u{0}")),
        with("kid", json!("k".repeat(8000))),
        with("kid", json!(["k1"])),
        with("kid", json!(7)),
        with("alg", json!(["RS256"])),
        with("alg", json!(null)),
        with("crit", json!([])),
        with("crit", json!(["exp"])),
        json!({"kid": "k1"}).to_string(),
        json!([known]).to_string(),
        "null".to_owned(),
        "[".repeat(9000),
        format!("{}{}", r#"{"alg":"RS256","kid":"k1","x":"#, r#"{"x":"#.repeat(1500)),
        r#"{"alg":"RS256","alg":"none","kid":"k1"}"#.to_owned(),
    ];
    // What is ignored does not help either: the signature is over another header.
    for place in ["jku", "x5u"] {
        headers.push(with(place, json!(format!("{}/certs", attacker.url))));
    }
    headers.push(with("x5c", json!([URL_SAFE_NO_PAD.encode("a certificate")])));
    headers.push(with("b64", json!(false)));
    headers.push(with("zip", json!("DEF")));
    let tokens = headers.iter().map(|header| Secret::from(format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header))));
    let tokens: Vec<Secret> = tokens.collect();
    let outcomes = futures::future::join_all(tokens.iter().map(|token| authenticator.authenticate(token))).await;
    for (header, outcome) in headers.iter().zip(outcomes) {
        assert_eq!(outcome.expect_err(header).kind(), Kind::Unauthenticated, "{header}");
    }
    // A header that is ignored where it is signed: nobody is called for it.
    let header = Header { jku: Some(format!("{}/certs", attacker.url)), ..key.header(Algorithm::RS256) };
    authenticator.authenticate(&key.sign_with(&header, &claims(json!({})))).await.unwrap();
    assert!(attacker.seen().is_empty());
    assert!(service.seen().iter().all(|seen| seen.uri.path() == "/certs"));
    assert!(service.seen().len() <= 2, "unknown keys make the set be read once, not each time");
}

#[tokio::test]
async fn an_empty_signature_of_an_elliptic_curve_is_none() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let token = key.sign(&claims(json!({})));
    let message = token.expose().rsplit_once('.').unwrap().0;
    for signature in [vec![0; 64], vec![0; 63], vec![0; 65], vec![0xff; 64], [[0; 32], [1; 32]].concat(), Vec::new()] {
        refusal(&authenticator, &Secret::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))).await;
    }
}

#[tokio::test]
async fn hostile_claims_are_refused() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": "k1"}).to_string());
    let encoding = &key.private;
    let good = claims(json!({})).to_string();
    let doubled = good.replacen('{', &format!(r#"{{"exp":{},"#, now() - 1000), 1);
    for payload in [
        "[]".to_owned(),
        "7".to_owned(),
        "[".repeat(9000),
        format!("{good} {good}"),
        good[..good.len() - 1].to_owned(),
        good.replace("\"ann\"", r#""ann\u0000root""#),
    ] {
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(&payload));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), encoding, Algorithm::ES256).unwrap();
        refusal(&authenticator, &Secret::from(format!("{message}.{signature}"))).await;
    }
    // Of members that stand twice the last one counts, for the check as for what is read: none is checked and another used.
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(&doubled));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), encoding, Algorithm::ES256).unwrap();
    let principal = authenticator.authenticate(&Secret::from(format!("{message}.{signature}"))).await.unwrap();
    assert!(principal.expires_at.as_second() > now());
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let key = Key::es256("k1");
    let (_service, authenticator) = with_set(set(&[&key.jwk])).await;
    let good = key.sign(&claims(json!({}))).expose().to_owned();
    let flipped = {
        let (message, signature) = good.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        format!("{message}.{first}{}", &signature[1..])
    };
    for text in [
        String::new(),
        "opaque".to_owned(),
        "..".to_owned(),
        "a.b.c.d.e".to_owned(),
        format!("{good}.x"),
        format!("{good}="),
        good.replace('.', ". "),
        flipped,
        "x".repeat(1024 * 1024),
        format!("{good}{}", "A".repeat(20_000)),
    ] {
        refusal(&authenticator, &Secret::from(text)).await;
    }
}
