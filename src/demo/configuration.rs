//! The configuration that the demonstration makes for itself, as the YAML text that a site would write.
//!
//! Scalars are written in JSON's syntax, which YAML shares, so no value can be read as anything but itself.

use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::authn;
use crate::domain::{Secret, Username, bytes_to_text};

/// The values that differ from run to run.
pub(super) struct Facts<'a> {
    /// The address of the API.
    pub(super) listen: SocketAddr,
    /// The issuer's discovery document (OpenID Connect Discovery 1.0, 3).
    pub(super) discovery: &'a Value,
    /// The audience of the issuer's tokens.
    pub(super) audience: Vec<String>,
    /// The account that everything runs in.
    pub(super) user: &'a Username,
    /// Its home directory.
    pub(super) home: &'a Path,
    /// The directory for temporary files.
    pub(super) scratch: &'a Path,
    /// The address of the SSH server.
    pub(super) ssh: SocketAddr,
    /// Its host key, in one line.
    pub(super) host_key: &'a str,
    /// The private key that it accepts.
    pub(super) private_key: &'a Secret,
    /// The client of the background checker: id and secret.
    pub(super) service: (&'a str, &'a Secret),
    /// The version of the Slurm that is installed here, if there is one.
    pub(super) slurm: Option<&'a str>,
}

/// The names of the clusters that the configuration has.
pub(super) fn systems(facts: &Facts<'_>) -> Vec<&'static str> {
    if facts.slurm.is_some() { vec!["local", "slurm"] } else { vec!["local"] }
}

/// The configuration. It holds secrets.
pub(super) fn render(facts: &Facts<'_>) -> String {
    let mut text = String::new();
    block(&mut text, &document(facts), 0);
    text
}

fn document(facts: &Facts<'_>) -> Value {
    // Jobs are listed while somebody waits for them, and here that costs little.
    let local = json!({"type": "local", "version": env!("CARGO_PKG_VERSION"), "job_mirror": {"interval": 0.5}});
    let mut clusters = vec![cluster(facts, "local", &local)];
    if let Some(version) = facts.slurm {
        clusters.push(cluster(facts, "slurm", &json!({"type": "slurm", "version": version})));
    }
    let mut keys = serde_json::Map::new();
    keys.insert(facts.user.to_string(), json!({"private_key": facts.private_key.expose()}));
    json!({
        "server": {"listen": facts.listen},
        "auth": {
            "authentication": {
                "token_url": facts.discovery["token_endpoint"],
                "public_certs": [facts.discovery["jwks_uri"]],
                "username_claim": "preferred_username",
                // Who runs it as root wants to work as root.
                "refused_usernames": authn::system_accounts().into_iter().filter(|name| name != facts.user.as_str()).collect::<Vec<_>>(),
                "issuer": facts.discovery["issuer"],
                "audience": facts.audience,
            },
            "authorization": {"rules": [{"systems": ["*"], "users": [facts.user]}]},
        },
        "ssh_credentials": {"type": "SSHStaticKeys", "keys": keys},
        "clusters": clusters,
    })
}

fn cluster(facts: &Facts<'_>, name: &str, scheduler: &Value) -> Value {
    let path = |path: &Path| bytes_to_text(path.as_os_str().as_bytes());
    let mut file_systems = vec![json!({"path": path(facts.home), "data_type": "users", "default_work_dir": true})];
    if facts.scratch != facts.home {
        file_systems.push(json!({"path": path(facts.scratch), "data_type": "scratch", "default_work_dir": false}));
    }
    let (client_id, secret) = facts.service;
    json!({
        "name": name,
        "ssh": {
            "host": facts.ssh.ip(),
            "port": facts.ssh.port(),
            "host_keys": {"pinned": [facts.host_key]},
        },
        "scheduler": scheduler,
        "service_account": {"client_id": client_id, "secret": secret.expose()},
        "probing": {
            "interval_check": 10,
            "services": {"ssh": {"timeout": 5}, "scheduler": {"timeout": 5}, "filesystem": {"timeout": 5}},
        },
        "file_systems": file_systems,
        // The one user's home directory is a file system of its own.
        "data_operation": {
            "datatransfer_jobs_directory": path(facts.home),
            // A job that waits takes a place of the few of this machine.
            "data_transfer": {"service_type": "streamer", "wait_timeout": 600, "inbound_transfer_limit": 1_u64 << 50},
        },
    })
}

/// Writes the members of a mapping, or the items of a list, each on lines of their own.
fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let mut entry = |head: &str, value: &Value| {
        text.push_str(&indent);
        text.push_str(head);
        if value.as_object().is_some_and(|members| !members.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty()) {
            text.push('\n');
            block(text, value, depth + 1);
        } else {
            text.push(' ');
            text.push_str(&scalar(&value.to_string()));
            text.push('\n');
        }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| entry(&format!("{}:", key(name)), value)),
        Value::Array(items) => items.iter().for_each(|item| entry("-", item)),
        _ => {}
    }
}

/// A key of ours as it is, any other one quoted.
fn key(name: &str) -> String {
    let word = name.len() > 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if name == "ssh" || (word && !matches!(name, "true" | "false" | "null")) {
        name.to_owned()
    } else {
        scalar(&Value::from(name).to_string())
    }
}

/// JSON lets some characters stand that YAML 1.2 wants escaped (5.1: those that do not print, and the byte order mark).
fn scalar(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, character| {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing to a string cannot fail.
                write!(text, "\\u{:04x}", u32::from(character)).ok();
            }
            character => text.push(character),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_yaml_reader_reads_odd_values_back() {
        let odd: [&[u8]; 8] = [
            b"/home/it's #1: \"x\" {a} - b",
            b"/a\\b\nc\td",
            "/gr\u{fc}\u{df}e\u{2028}\u{85}\u{feff}x".as_bytes(),
            b"/\xff\xfe",
            b"/yes",
            b"/~",
            b"/!!str &a *b %",
            b"/ trailing ",
        ];
        for home in odd {
            let text = rendered(Path::new(OsStr::from_bytes(home)));
            let loaded = crate::config::from_yaml(&text, std::iter::empty()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(loaded.config.clusters[0].file_systems[0].path.as_bytes(), home, "{text}");
        }
    }

    #[test]
    fn the_configuration_reads_as_a_site_would_write_it() {
        let text = rendered(Path::new("/home/fulmar"));
        for line in [
            "    token_url: \"http://127.0.0.1:2/token\"",
            "  type: \"SSHStaticKeys\"",
            "    \"y\":",
            "      private_key: \"line one\\nline two\\n\"",
            "    name: \"local\"",
            "    name: \"slurm\"",
            "      port: 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
        }
    }

    #[test]
    fn every_section_is_one_that_its_module_takes() {
        with_facts(Path::new("/home/fulmar"), |facts| {
            let document = document(facts);
            let server: crate::http::Config = serde_json::from_value(document["server"].clone()).unwrap();
            assert_eq!(server.listen, facts.listen);
            let authn: authn::Config = serde_json::from_value(document["auth"]["authentication"].clone()).unwrap();
            assert_eq!((authn.token_url.as_deref(), authn.audience), (Some("http://127.0.0.1:2/token"), vec!["goldcrest".to_owned()]));
            let _: crate::credentials::Config = serde_json::from_value(document["ssh_credentials"].clone()).unwrap();
            let clusters: Vec<crate::cluster::Config> = serde_json::from_value(document["clusters"].clone()).unwrap();
            let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            assert_eq!(names, systems(facts));
            assert_eq!(clusters[0].ssh.as_ref().unwrap().port, 3);
            assert_eq!(clusters[0].probing.services.as_ref().unwrap().len(), 3);
            assert!(clusters[0].file_systems[0].default_work_dir);
        });
    }

    fn rendered(home: &Path) -> String {
        let mut text = String::new();
        with_facts(home, |facts| text = render(facts));
        text
    }

    fn with_facts(home: &Path, use_them: impl FnOnce(&Facts<'_>)) {
        let secret = Secret::from("s\"e'c".to_owned());
        let key = Secret::from("line one\nline two\n".to_owned());
        let user = Username::new("y").unwrap();
        let issuer = "http://127.0.0.1:2";
        let discovery = json!({"issuer": issuer, "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/jwks")});
        use_them(&Facts {
            listen: "127.0.0.1:1".parse().unwrap(),
            discovery: &discovery,
            audience: vec!["goldcrest".to_owned()],
            user: &user,
            home,
            scratch: Path::new("/tmp"),
            ssh: "127.0.0.1:3".parse().unwrap(),
            host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpGXUAH0VNbGqkMo7Is9H9Ve95u0Nh/BGmqxtOzKSKH",
            private_key: &key,
            service: ("demo-service", &secret),
            slurm: Some("24.11.0"),
        });
    }
}
