//! Requests to the API server, and what their failures mean.
//!
//! Nothing is sent a second time here. Each request is made as Goldcrest itself, or in a user's name where the site wants that.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::AsyncReadExt;
use futures::future::ready;
use futures::sink::{Sink, SinkExt};
use futures::stream::{self, BoxStream, StreamExt};
use http_types::Request as HttpRequest;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use kube::api::{AttachParams, DeleteParams, GetParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{Request, WatchEvent};
use kube::{Client, client};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::Config;
use super::failure::ApiFailure;
use super::names::{CONTAINER, GOLDCREST};
use crate::domain::Username;
use crate::error::ErrorChain;

/// The objects of one page of a list, and the most that are read in all.
const PAGE: u32 = 500;
const MAX_OBJECTS: usize = 100_000;

/// The longest piece of an output, in bytes.
const PIECE: usize = 16 * 1024;

/// What a container has written, in pieces.
pub(super) type Output = BoxStream<'static, Result<Bytes, ApiFailure>>;

/// The messages of a command that runs.
pub(super) type Messages = BoxStream<'static, Result<Bytes, ApiFailure>>;

/// Where messages for a command go.
pub(super) type Input = Pin<Box<dyn Sink<Bytes, Error = io::Error> + Send>>;

/// The changes of objects.
pub(super) type Events<T> = BoxStream<'static, Result<WatchEvent<T>, ApiFailure>>;

/// The selectors of a list; empty ones choose everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection<'a> {
    pub(super) labels: &'a str,
    pub(super) fields: &'a str,
}

impl Selection<'_> {
    fn texts(self) -> (Option<String>, Option<String>) {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        (given(self.labels), given(self.fields))
    }
}

/// Why the API server cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kubeconfig cannot be read.
    #[error("kubeconfig_file cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
    /// The kubeconfig is not one. Its text, which has secrets, is in no message.
    #[error("kubeconfig_file is no kubeconfig in YAML{0}")]
    NoKubeconfig(String),
    /// There is no service account.
    #[error("this is no pod with a service account, and kubeconfig_file is not given")]
    InCluster(#[from] kube::config::InClusterError),
    /// The kubeconfig names a program.
    #[error("the kubeconfig runs a program for its credentials (exec): set allow_exec_plugins: true if Goldcrest may run it")]
    Exec,
    /// The kubeconfig names a way that is not supported.
    #[error("the kubeconfig has an auth-provider or a proxy-url, which Goldcrest does not support")]
    Unsupported,
    /// TLS or the credentials cannot be set up.
    #[error("the connection to the API server cannot be set up")]
    Client(#[source] Box<kube::Error>),
}

impl From<KubeconfigError> for SetupError {
    fn from(error: KubeconfigError) -> Self {
        match error {
            KubeconfigError::Parse(error) => {
                let place = error.location().map(|place| format!(": line {}, column {}", place.line(), place.column()));
                Self::NoKubeconfig(place.unwrap_or_default())
            }
            error => Self::Kubeconfig(error),
        }
    }
}

/// In whose name a request is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Actor<'a> {
    /// Goldcrest's.
    Own,
    /// A user's, where the cluster knows its users.
    User(&'a Username),
}

/// What became of an object that was to be created.
#[derive(Debug)]
pub(super) enum Created<T> {
    /// It is new.
    New(T),
    /// One of that name is there already.
    Exists,
}

/// The connection to one API server, made at its first use.
pub(super) struct Connection {
    access: Access,
    impersonates: bool,
    timeout: Duration,
    client: OnceCell<Client>,
}

/// Where the address and the credentials come from.
enum Access {
    Kubeconfig { kubeconfig: Box<Kubeconfig>, context: Option<String> },
    InCluster,
}

/// A page of a list. Items of a list lack the members `kind` and `apiVersion`.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: ListMeta,
    // `null` stands for none.
    items: Option<Vec<T>>,
}

impl Connection {
    /// The connection that the configuration describes.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub(super) fn new(config: &Config, timeout: Duration) -> Result<Self, SetupError> {
        let access = match &config.kubeconfig_file {
            Some(file) => {
                let kubeconfig = Box::new(Kubeconfig::read_from(file)?);
                check(&kubeconfig, config.context.as_deref(), config.allow_exec_plugins)?;
                Access::Kubeconfig { kubeconfig, context: config.context.clone() }
            }
            None => Access::InCluster,
        };
        Ok(Self { access, impersonates: config.impersonate, timeout, client: OnceCell::new() })
    }

    async fn connect(&self) -> Result<Client, SetupError> {
        let mut config = match &self.access {
            Access::Kubeconfig { kubeconfig, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                kube::Config::from_custom_kubeconfig((**kubeconfig).clone(), &options).await?
            }
            Access::InCluster => kube::Config::incluster()?,
        };
        config.connect_timeout = Some(self.timeout);
        config.read_timeout = None;
        // A request that failed may have happened.
        config.default_retry = false;
        // The variables of the process are none of the cluster's.
        config.proxy_url = None;
        let builder = client::ClientBuilder::try_from(config).map_err(|error| SetupError::Client(Box::new(error)))?;
        Ok(builder.build())
    }

    /// One object; none where it is not there.
    pub(super) async fn get<T>(&self, actor: Actor<'_>, namespace: Option<&str>, name: &str) -> Result<Option<T>, ApiFailure>
    where
        T: Resource + DeserializeOwned,
    {
        let request = Request::new(path::<T>(namespace)).get(name, &GetParams::default());
        match self.send(actor, request).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiFailure::Refused { code: 404, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The objects that the selectors of labels and fields choose, of one namespace or of all.
    pub(super) async fn list<T>(&self, actor: Actor<'_>, namespace: Option<&str>, selection: Selection<'_>) -> Result<Vec<T>, ApiFailure>
    where
        T: Resource + DeserializeOwned,
    {
        self.versioned_list(actor, namespace, selection).await.map(|(found, _)| found)
    }

    /// The objects of the whole cluster, with the version from which on their changes can be watched.
    pub(super) async fn list_all<T>(&self, selection: Selection<'_>) -> Result<(Vec<T>, String), ApiFailure>
    where
        T: Resource + DeserializeOwned,
    {
        self.versioned_list(Actor::Own, None, selection).await
    }

    async fn versioned_list<T>(
        &self,
        actor: Actor<'_>,
        namespace: Option<&str>,
        selection: Selection<'_>,
    ) -> Result<(Vec<T>, String), ApiFailure>
    where
        T: Resource + DeserializeOwned,
    {
        let request = Request::new(path::<T>(namespace));
        let mut params = ListParams::default().limit(PAGE);
        (params.label_selector, params.field_selector) = selection.texts();
        let mut found = Vec::new();
        loop {
            let page: Page<T> = self.send(actor, request.list(&params)).await?;
            found.extend(page.items.unwrap_or_default());
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                None => return Ok((found, page.metadata.resource_version.unwrap_or_default())),
                Some(_) if found.len() >= MAX_OBJECTS => {
                    return Err(ApiFailure::Unanswered(format!("there are more than {MAX_OBJECTS} {}", T::URL_PATH_SEGMENT)));
                }
                Some(token) => params.continue_token = Some(token),
            }
        }
    }

    /// The changes of the objects of the whole cluster after a version, for some minutes.
    pub(super) async fn watch<T>(&self, selection: Selection<'_>, version: &str) -> Result<Events<T>, ApiFailure>
    where
        T: Resource + Clone + DeserializeOwned + Send + 'static,
    {
        let (label_selector, field_selector) = selection.texts();
        let params = WatchParams { label_selector, field_selector, ..WatchParams::default() };
        let request = self.named(Actor::Own, Request::new(path::<T>(None)).watch(&params, version))?;
        let client = self.client().await?;
        let events = self.within(client.request_events::<T>(request)).await?;
        Ok(events.map(|event| event.map_err(ApiFailure::from)).boxed())
    }

    /// Runs a command in the container of a pod. Each message begins with the number of its channel.
    pub(super) async fn exec(&self, actor: Actor<'_>, namespace: &str, pod: &str, command: &[&str]) -> Result<Messages, ApiFailure> {
        let params = AttachParams { container: Some(CONTAINER.to_owned()), ..AttachParams::default() };
        Ok(self.dial(actor, namespace, pod, command, &params).await?.0)
    }

    /// The same with input, which has messages too.
    ///
    /// # Errors
    /// Also if the API server cannot end an input before its connection: the command then has none.
    pub(super) async fn exec_with_input(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<(Messages, Input), ApiFailure> {
        let params = AttachParams::default().container(CONTAINER).stdin(true);
        let (messages, input, ends) = self.dial(Actor::Own, namespace, pod, command, &params).await?;
        if !ends {
            return Err(ApiFailure::Unreached(
                "the API server is older than Kubernetes 1.30, where the input of a command cannot be ended".to_owned(),
            ));
        }
        Ok((messages, input))
    }

    /// The messages of a command, the way for those to it, and whether one of them can end its input.
    async fn dial(
        &self,
        actor: Actor<'_>,
        namespace: &str,
        pod: &str,
        command: &[&str],
        params: &AttachParams,
    ) -> Result<(Messages, Input, bool), ApiFailure> {
        let request = Request::new(path::<Pod>(Some(namespace))).exec(pod, command.iter().copied(), params);
        let request = self.named(actor, request)?;
        let client = self.client().await?;
        let connection = self.within(client.connect(request)).await?;
        let ends = connection.supports_stream_close();
        let (input, messages) = connection.into_stream().split();
        let messages = messages.filter_map(|message| async move {
            match message {
                Ok(message) if message.is_binary() => Some(Ok(message.into_data())),
                Ok(_) => None,
                Err(error) => Some(Err(ApiFailure::Unanswered(ErrorChain(&error).to_string()))),
            }
        });
        let input = input.sink_map_err(io::Error::other).with(|message: Bytes| ready(Ok::<_, io::Error>(message.into())));
        Ok((messages.boxed(), Box::pin(input), ends))
    }

    /// How long a request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Creates an object, once.
    pub(super) async fn create<T>(&self, actor: Actor<'_>, namespace: Option<&str>, object: &T) -> Result<Created<T>, ApiFailure>
    where
        T: Resource + Serialize + DeserializeOwned,
    {
        match self.send(actor, creation(namespace, object, false)?).await {
            Ok(object) => Ok(Created::New(object)),
            Err(ApiFailure::Refused { reason, .. }) if reason == "AlreadyExists" => Ok(Created::Exists),
            Err(failure) => Err(failure),
        }
    }

    /// Asks whether an object could be created.
    pub(super) async fn dry_run<T: Resource + Serialize>(&self, actor: Actor<'_>, namespace: &str, object: &T) -> Result<(), ApiFailure> {
        self.send::<Value>(actor, creation(Some(namespace), object, true)?).await.map(drop)
    }

    /// Creates an object, or updates it to this state (server-side apply).
    pub(super) async fn apply<T>(&self, namespace: &str, object: &T) -> Result<(), ApiFailure>
    where
        T: Resource + Serialize + k8s_openapi::Metadata<Ty = ObjectMeta>,
    {
        let name = object.metadata().name.as_deref().unwrap_or_default();
        let params = PatchParams::apply(GOLDCREST).force();
        let request = Request::new(path::<T>(Some(namespace))).patch(name, &params, &Patch::Apply(object));
        self.send::<Value>(Actor::Own, request).await.map(drop)
    }

    /// Changes members of an object (RFC 7386).
    pub(super) async fn merge<T>(&self, actor: Actor<'_>, namespace: &str, name: &str, patch: &Value) -> Result<T, ApiFailure>
    where
        T: Resource + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some(GOLDCREST.to_owned()), ..PatchParams::default() };
        let request = Request::new(path::<T>(Some(namespace))).patch(name, &params, &Patch::Merge(patch));
        self.send(actor, request).await
    }

    /// Removes an object and then the objects that it owns. A missing object counts as removed.
    pub(super) async fn delete<T: Resource>(&self, actor: Actor<'_>, namespace: &str, name: &str) -> Result<(), ApiFailure> {
        let request = Request::new(path::<T>(Some(namespace))).delete(name, &DeleteParams::background());
        match self.send::<Value>(actor, request).await {
            Ok(_) | Err(ApiFailure::Refused { code: 404, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// What the container of a pod has written, as it arrives; with `follow`, until the container ends.
    pub(super) async fn output(&self, actor: Actor<'_>, namespace: &str, pod: &str, follow: bool) -> Result<Output, ApiFailure> {
        let params = LogParams { container: Some(CONTAINER.to_owned()), follow, ..LogParams::default() };
        let request = self.named(actor, Request::new(path::<Pod>(Some(namespace))).logs(pod, &params))?;
        let client = self.client().await?;
        let body = self.within(client.request_stream(request)).await?;
        let pieces = stream::unfold(Some(Box::pin(body)), |body| async move {
            let mut body = body?;
            let mut piece = vec![0; PIECE];
            match body.read(&mut piece).await {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some((Ok(Bytes::from(piece)), Some(body)))
                }
                Err(error) => Some((Err(ApiFailure::Unanswered(ErrorChain(&error).to_string())), None)),
            }
        });
        Ok(pieces.boxed())
    }

    /// Whether the API server is ready, and accepts our credentials.
    pub(super) async fn ready(&self) -> Result<(), ApiFailure> {
        let request = HttpRequest::get("/readyz").body(Vec::new()).map_err(|error| ApiFailure::Unreached(error.to_string()))?;
        let client = self.client().await?;
        self.answered(client.request_text(request)).await.map(drop)
    }

    async fn client(&self) -> Result<&Client, ApiFailure> {
        let connected = self.client.get_or_try_init(|| self.connect()).await;
        connected.map_err(|error| ApiFailure::Unreached(ErrorChain(&error).to_string()))
    }

    /// A request in the name that it is made in.
    fn named(&self, actor: Actor<'_>, request: BuiltRequest) -> Result<HttpRequest<Vec<u8>>, ApiFailure> {
        let mut request = request.map_err(|error| unbuilt(&error))?;
        if let (Actor::User(user), true) = (actor, self.impersonates) {
            let name = user.as_str().parse().map_err(|_| ApiFailure::Unreached("the user's name cannot be sent".to_owned()))?;
            request.headers_mut().insert("impersonate-user", name);
        }
        Ok(request)
    }

    async fn send<T: DeserializeOwned>(&self, actor: Actor<'_>, request: BuiltRequest) -> Result<T, ApiFailure> {
        let request = self.named(actor, request)?;
        let client = self.client().await?;
        let text = self.within(client.request_text(request)).await?;
        // Not by the client, which would log a text that cannot be read, and with it the content of a Secret.
        serde_json::from_str(&text).map_err(|error| ApiFailure::Unanswered(format!("the API server's answer is not understood: {error}")))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiFailure> {
        match self.answered(work).await {
            Err(ApiFailure::Refused { code: 403, .. }) if self.ready().await.is_err() => {
                Err(ApiFailure::Unreached("the API server is not ready, and forbids everything until it is".to_owned()))
            }
            outcome => outcome,
        }
    }

    async fn answered<T>(&self, work: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiFailure> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome.map_err(ApiFailure::from),
            Err(_) => Err(ApiFailure::Unanswered(format!("no answer of the API server within {} s", self.timeout.as_secs()))),
        }
    }
}

type BuiltRequest = Result<HttpRequest<Vec<u8>>, kube::core::request::Error>;

fn creation<T: Resource + Serialize>(namespace: Option<&str>, object: &T, dry_run: bool) -> Result<BuiltRequest, ApiFailure> {
    let body = serde_json::to_vec(object).map_err(|error| ApiFailure::Unreached(ErrorChain(&error).to_string()))?;
    let params = PostParams { dry_run, field_manager: Some(GOLDCREST.to_owned()) };
    Ok(Request::new(path::<T>(namespace)).create(&params, body))
}

fn unbuilt(error: &kube::core::request::Error) -> ApiFailure {
    ApiFailure::Unreached(ErrorChain(error).to_string())
}

/// The path of all objects of a type, in one namespace or in the cluster.
fn path<T: Resource>(namespace: Option<&str>) -> String {
    let group = if T::GROUP.is_empty() { "api" } else { "apis" };
    match namespace {
        Some(namespace) => format!("/{group}/{}/namespaces/{namespace}/{}", T::API_VERSION, T::URL_PATH_SEGMENT),
        None => format!("/{group}/{}/{}", T::API_VERSION, T::URL_PATH_SEGMENT),
    }
}

/// Refuses a kubeconfig that would run a program, or that has members which are not supported here.
fn check(kubeconfig: &Kubeconfig, context: Option<&str>, allow_exec: bool) -> Result<(), SetupError> {
    let context = context.or(kubeconfig.current_context.as_deref());
    let chosen = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == context).and_then(|named| named.context.as_ref());
    let user = chosen.and_then(|context| context.user.as_ref());
    let user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == user).and_then(|named| named.auth_info.as_ref());
    let cluster = kubeconfig.clusters.iter().find(|named| chosen.is_some_and(|context| context.cluster == named.name));
    if user.is_some_and(|user| user.exec.is_some()) && !allow_exec {
        return Err(SetupError::Exec);
    }
    let has_proxy = cluster.and_then(|named| named.cluster.as_ref()).is_some_and(|cluster| cluster.proxy_url.is_some());
    if has_proxy || user.is_some_and(|user| user.auth_provider.is_some()) {
        return Err(SetupError::Unsupported);
    }
    Ok(())
}
