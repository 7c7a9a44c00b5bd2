//! The running components and their addresses. The start scripts write the coordinates; nothing is guessed here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::Api;

/// A part of the environment that a scenario can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Goldcrest,
    Oidc,
    OpenSsh,
    Slurm,
    Slurm24,
    Slurm26,
    OpenFga,
    Keycloak,
    JupyterHub,
    S3,
    Kubernetes,
}

/// The environment that was found.
pub struct Live {
    root: PathBuf,
    up: Vec<Component>,
    url: String,
    http: reqwest::Client,
}

impl Live {
    /// Reads the coordinates below `$GOLDCREST_ENV` and tries each component's port.
    pub async fn discover() -> Self {
        let root = std::env::var_os("GOLDCREST_ENV").map_or_else(|| PathBuf::from("/var/tmp/goldcrest-env"), PathBuf::from);
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(90)).build().unwrap();
        let mut live = Self { root, up: Vec::new(), url: String::new(), http };
        live.url = std::env::var("GOLDCREST_URL")
            .ok()
            .or_else(|| live.find("goldcrest", "/url")?.as_str().map(str::to_owned))
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        let controller = |release: &str| live.find(&format!("slurm/{release}"), "/controllerPort").as_ref().and_then(Value::as_u64);
        let ports = [
            (Component::Goldcrest, port_of(&live.url)),
            (Component::Oidc, live.find("oidc", "/issuer").as_ref().and_then(Value::as_str).and_then(port_of)),
            (Component::OpenSsh, live.find("openssh", "/instances/stock/port").as_ref().and_then(Value::as_u64)),
            (Component::Slurm, controller("22.05")),
            (Component::Slurm24, controller("24.11")),
            (Component::Slurm26, controller("26.05")),
            (Component::Keycloak, live.find("keycloak", "/issuer").as_ref().and_then(Value::as_str).and_then(port_of)),
            (Component::Kubernetes, live.find("kubernetes", "/port").as_ref().and_then(Value::as_u64)),
            (Component::JupyterHub, live.find("jupyterhub", "/apiUrl").as_ref().and_then(Value::as_str).and_then(port_of)),
            (Component::S3, live.find("s3", "/url").as_ref().and_then(Value::as_str).and_then(port_of)),
            (Component::OpenFga, std::fs::read_to_string(live.root.join("openfga/url")).ok().and_then(|url| port_of(url.trim()))),
        ];
        for (component, port) in ports {
            if let Some(port) = port.and_then(|port| u16::try_from(port).ok())
                && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            {
                live.up.push(component);
            }
        }
        live
    }

    /// Whether a component is up.
    pub fn has(&self, component: Component) -> bool {
        self.up.contains(&component)
    }

    /// Whether a component was looked for and is offered nowhere any more; see `build/environment/slurm/install.sh`.
    pub fn is_elsewhere(&self, component: Component) -> bool {
        component == Component::Slurm26 && self.root.join("slurm/26.05/elsewhere").exists()
    }

    /// A coordinate that a start script wrote, by its JSON pointer.
    pub fn coordinate(&self, component: &str, pointer: &str) -> Value {
        self.find(component, pointer).unwrap_or_else(|| panic!("{component} has no coordinate {pointer}"))
    }

    /// A coordinate that is text.
    pub fn text(&self, component: &str, pointer: &str) -> String {
        self.coordinate(component, pointer).as_str().unwrap().to_owned()
    }

    /// A coordinate that is a number.
    pub fn number(&self, component: &str, pointer: &str) -> u64 {
        self.coordinate(component, pointer).as_u64().unwrap()
    }

    /// The process id that a coordinate's file holds.
    pub fn pid(&self, component: &str, pointer: &str) -> i32 {
        std::fs::read_to_string(self.text(component, pointer)).unwrap().trim().parse().unwrap()
    }

    /// The running Goldcrest, as this user.
    pub async fn api(&self, user: &str) -> Api {
        Api::new(self.http.clone(), &self.url, Some(self.token(user, None).await))
    }

    /// Another Goldcrest, as this user.
    pub async fn api_at(&self, url: &str, user: &str) -> Api {
        Api::new(self.http.clone(), url, Some(self.token(user, None).await))
    }

    /// Another Goldcrest, with this token.
    pub fn api_at_with(&self, url: &str, token: &str) -> Api {
        Api::new(self.http.clone(), url, Some(token.to_owned()))
    }

    /// The address of the running Goldcrest.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port, for clients that speak HTTP by hand.
    pub fn address(&self) -> String {
        let url = reqwest::Url::parse(&self.url).unwrap();
        format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap())
    }

    /// The HTTP client of the suite.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// A file of a component's state, without the blanks around it.
    pub fn file(&self, component: &str, name: &str) -> String {
        let path = self.path(component, name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }

    /// Where a file of a component's state is.
    pub fn path(&self, component: &str, name: &str) -> PathBuf {
        self.root.join(component).join(name)
    }

    /// The port of the OpenFGA server.
    pub fn openfga_port(&self) -> u16 {
        let port = port_of(&self.file("openfga", "url")).expect("its URL has a port");
        u16::try_from(port).unwrap()
    }

    /// The running Goldcrest with this token, or none.
    pub fn api_with(&self, token: Option<String>) -> Api {
        Api::new(self.http.clone(), &self.url, token)
    }

    /// An access token for a client of the provider; `resource` chooses what it is for (RFC 8707).
    pub async fn token(&self, user: &str, resource: Option<&str>) -> String {
        let secret = std::fs::read_to_string(self.text("oidc", &format!("/clients/{user}/secretFile"))).unwrap();
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(resource.map(|resource| ("resource", resource)));
        let mut request = self.http.post(self.text("oidc", "/tokenUrl"));
        if self.find("oidc", &format!("/clients/{user}/authMethod")).is_some() {
            request = request.basic_auth(user, Some(&secret));
        } else {
            form.extend([("client_id", user), ("client_secret", &secret)]);
        }
        let answer: Value = request.form(&form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("the provider gave no token: {answer}")).to_owned()
    }

    /// The systems to try file operations on: one for each way that files are reached.
    pub const FILE_SYSTEMS: [&str; 2] = ["slurm", "slurm-nosftp"];

    fn find(&self, component: &str, pointer: &str) -> Option<Value> {
        read_json(&self.root.join(component).join("env.json"))?.pointer(pointer).cloned()
    }
}

fn read_json(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn port_of(url: &str) -> Option<u64> {
    reqwest::Url::parse(url).ok()?.port_or_known_default().map(u64::from)
}

/// Asks until the answer is `Some`; a fact that does not come true in time is a failure named by `what`.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(answer) = ask().await {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(deadline, waiting).await.unwrap_or_else(|_| panic!("not within {} s: {what}", deadline.as_secs()))
}
