//! The login of a person: the authorization code with PKCE (RFC 7636), by a browser and by a program.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

const REDIRECT: &str = "http://127.0.0.1/callback";

/// A provider, a client of it, and a person.
pub struct Login<'a> {
    pub authorize_url: &'a str,
    pub token_url: &'a str,
    pub client: &'a str,
    /// Of a confidential client.
    pub secret: Option<&'a str>,
    pub user: &'a str,
    /// Where the provider has a form to log in with.
    pub password: Option<&'a str>,
}

impl Login<'_> {
    /// What the token endpoint answers at the end.
    pub async fn tokens(&self) -> Value {
        let verifier = format!("{0}{0}", uuid::Uuid::new_v4().simple());
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let question = [
            ("client_id", self.client),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid"),
            ("state", "live"),
            ("nonce", "live-nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", self.user),
        ];
        let code = self.code(Url::parse_with_params(self.authorize_url, question).unwrap()).await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("client_id", self.client),
            ("code_verifier", verifier.as_str()),
        ];
        form.extend(self.secret.map(|secret| ("client_secret", secret)));
        let http = Client::builder().no_proxy().build().unwrap();
        let answer: Value = http.post(self.token_url).form(&form).send().await.unwrap().json().await.unwrap();
        assert!(answer["access_token"].is_string(), "no token for the code: {answer}");
        answer
    }

    async fn code(&self, start: Url) -> String {
        let mut browser = Browser::new();
        let mut url = start;
        let mut answer = browser.send(browser.http.get(url.clone())).await;
        for _ in 0..10 {
            if let Some(location) = answer.headers().get("location") {
                url = url.join(location.to_str().unwrap()).unwrap();
                if url.as_str().starts_with(REDIRECT) {
                    let code = url.query_pairs().find(|(name, _)| name == "code");
                    return code.unwrap_or_else(|| panic!("no code in {url}")).1.into_owned();
                }
                answer = browser.send(browser.http.get(url.clone())).await;
                continue;
            }
            let page = answer.text().await.unwrap();
            let form = page.split_once("action=\"").and_then(|(_, rest)| rest.split_once('"'));
            let action = form.unwrap_or_else(|| panic!("neither a redirect nor a form: {page}")).0.replace("&amp;", "&");
            url = url.join(&action).unwrap();
            let password = self.password.expect("the provider asks for a password");
            let form = [("username", self.user), ("password", password)];
            answer = browser.send(browser.http.post(url.clone()).form(&form)).await;
        }
        panic!("the login does not end: {url}");
    }
}

/// As much of a browser as a login needs: cookies of one host, and redirects one by one.
struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        Self { http: Client::builder().no_proxy().redirect(Policy::none()).build().unwrap(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}
