//! The variables that a JupyterHub sets for its services, where the configuration wants them.
//!
//! They fill in what the file leaves out, for a section of `auth.authentication.validators` of the type `jupyterhub` with `as_service: true`.

use std::net::IpAddr;

use super::environment::{fill, find};
use super::interpret::boolean;
use super::problem::{Origin, Problem};
use super::yaml::{Node, Value};

/// Applies the variables to the document.
pub(super) fn apply(root: &mut Node, variables: &[(String, String)], problems: &mut Vec<Problem>) {
    let variables = Variables(variables);
    if !fill_validators(root, &variables, problems) {
        return;
    }
    if let Some(prefix) = variables.text("JUPYTERHUB_SERVICE_PREFIX") {
        fill(root, "apis_root_path", prefix);
    }
    if let Some((name, url)) = variables.get("JUPYTERHUB_SERVICE_URL") {
        match listen_address(url) {
            Some(address) => fill(root, "server", mapping("listen", scalar(name, &address))),
            None => {
                let problem = Problem::new("server.listen", "is no address to listen on").allowed("such as http://127.0.0.1:10101");
                problems.push(problem.at(Some(&Origin::Environment(name.into()))));
            }
        }
    }
}

/// Fills in the sections of Hubs that Goldcrest is a service of. Returns whether there is one.
fn fill_validators(root: &mut Node, variables: &Variables<'_>, problems: &mut Vec<Problem>) -> bool {
    let validators = ["auth", "authentication", "validators"].into_iter().try_fold(root, |node, key| member(node, key));
    let Some(Value::Sequence(validators)) = validators.map(|node| &mut node.value) else { return false };
    let mut is_service = false;
    for section in validators {
        if !is_own_hub(section) {
            continue;
        }
        is_service = true;
        for (key, name) in [("api_url", "JUPYTERHUB_API_URL"), ("api_token", "JUPYTERHUB_API_TOKEN")] {
            if let Some(text) = variables.text(name) {
                fill(section, key, text);
            }
        }
        match variables.scopes() {
            Ok(Some(scopes)) => fill(section, "scopes", scopes),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    is_service
}

/// Whether a section is that of a Hub that Goldcrest is a service of.
fn is_own_hub(section: &mut Node) -> bool {
    let mut text = |key: &str| match member(section, key).map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => text.clone(),
        _ => String::new(),
    };
    text("type") == "jupyterhub" && boolean(&text("as_service")) == Some(serde_json::Value::Bool(true))
}

fn member<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Mapping(entries) = &mut node.value else { return None };
    let index = find(entries, key)?;
    Some(&mut entries[index].1)
}

/// The environment.
struct Variables<'a>(&'a [(String, String)]);

impl Variables<'_> {
    /// The name and the value of a variable that is not empty.
    fn get(&self, name: &str) -> Option<(&str, &str)> {
        let found = self.0.iter().find(|(known, text)| known == name && !text.is_empty())?;
        Some((&found.0, &found.1))
    }

    fn text(&self, name: &str) -> Option<Node> {
        self.get(name).map(|(name, text)| scalar(name, text))
    }

    /// The scopes of which a token must have one: those that the Hub states, or else that of the service.
    fn scopes(&self) -> Result<Option<Node>, Problem> {
        if let Some((name, text)) = self.get("JUPYTERHUB_OAUTH_ACCESS_SCOPES") {
            let origin = Origin::Environment(name.into());
            let scopes: Vec<String> = serde_json::from_str(text)
                .map_err(|_| Problem::new("", "is not of the right kind").allowed("a JSON list of texts").at(Some(&origin)))?;
            return Ok(Some(sequence(scopes.iter().map(|scope| scalar(name, scope)), origin)));
        }
        Ok(self.get("JUPYTERHUB_SERVICE_NAME").map(|(name, service)| {
            sequence([scalar(name, &format!("access:services!service={service}"))].into_iter(), Origin::Environment(name.into()))
        }))
    }
}

/// The address in the URL at which the Hub reaches the service.
fn listen_address(url: &str) -> Option<String> {
    let authority = url.strip_prefix("http://")?.split(['/', '?', '#']).next()?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let address: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(std::net::SocketAddr::new(address, port.parse().ok()?).to_string())
}

fn scalar(name: &str, text: &str) -> Node {
    Node { origin: Origin::Environment(name.into()), value: Value::Scalar { text: text.to_owned(), plain: false } }
}

fn sequence(items: impl Iterator<Item = Node>, origin: Origin) -> Node {
    Node { origin, value: Value::Sequence(items.collect()) }
}

fn mapping(key: &str, node: Node) -> Node {
    Node { origin: node.origin.clone(), value: Value::Mapping(vec![(key.to_owned(), node)]) }
}

#[cfg(test)]
mod tests {
    use super::listen_address;

    #[test]
    fn the_address_to_listen_on_is_read_out_of_the_url_of_the_service() {
        for (url, address) in [
            ("http://127.0.0.1:10101", Some("127.0.0.1:10101")),
            ("http://127.0.0.1:10101/", Some("127.0.0.1:10101")),
            ("http://localhost:9", Some("127.0.0.1:9")),
            ("http://[::1]:9/x", Some("[::1]:9")),
            ("http://10.0.0.1", Some("10.0.0.1:80")),
            ("https://127.0.0.1:10101", None),
            ("http://goldcrest:10101", None),
            ("http://127.0.0.1:port", None),
        ] {
            assert_eq!(listen_address(url).as_deref(), address, "{url}");
        }
    }
}
