//! Configuration files as sites write them, right and wrong.

mod compat;
mod key_sources;
mod reading;
mod sections;
mod validators;
mod warnings;

use std::path::Path;

use goldcrest::authz;
use goldcrest::config::{self, ConfigError, Loaded};
use goldcrest::credentials;
use goldcrest::scheduler::{ConnectionMode, SchedulerType};
use goldcrest::transfer::DataTransfer;

const FIRECREST: &str = include_str!("fixtures/firecrest-local.yaml");

/// The least that a configuration needs, in three parts that tests put other lines between.
const SITE: &str = "\
auth:
  authentication:
    token_url: https://idp.example.org/token
    public_certs: [https://idp.example.org/certs]
    issuer: https://idp.example.org
    audience: [goldcrest]
ssh_credentials:
  type: SSHStaticKeys
  keys:
    ann:
      private_key: KEY
";

/// A key that opens nothing, as a YAML text on one line.
const KEY: &str = "\"-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\\nQyNTUxOQAAACAxzsbo9MsmyWfwaOqffr1JPe7eMb1Vl82sgrnDP0WvzgAAAIioZ5FLqGeR\\nSwAAAAtzc2gtZWQyNTUxOQAAACAxzsbo9MsmyWfwaOqffr1JPe7eMb1Vl82sgrnDP0Wvzg\\nAAAEASpUQtaYgZzrTVuQlZMuXiDLevPa3y51bqI/NYTxaslzHOxuj0yybJZ/Bo6p9+vUk9\\n7t4xvVWXzayCucM/Ra/OAAAABHRlc3QB\\n-----END OPENSSH PRIVATE KEY-----\\n\"";

const CLUSTER: &str = "\
clusters:
  - name: daint
    ssh:
      host: login.example.org
    scheduler:
      type: slurm
      version: 24.11.0
    service_account:
      client_id: health
      secret: hunter2
    probing: {}
    file_systems:
      - path: /home
        data_type: users
";

fn no_env() -> impl Iterator<Item = (String, String)> {
    std::iter::empty()
}

fn env<const N: usize>(variables: [(&str, &str); N]) -> impl Iterator<Item = (String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter()
}

fn read(text: &str) -> Result<Loaded, ConfigError> {
    config::from_yaml(text, no_env())
}

fn ssh(config: &config::Config, cluster: usize) -> &goldcrest::ssh::Config {
    config.clusters[cluster].ssh.as_ref().unwrap()
}

fn site() -> String {
    format!("{SITE}{CLUSTER}").replace("private_key: KEY", &format!("private_key: {KEY}"))
}

/// The mistakes in the site's file with one text replaced, as a person is shown them.
fn mistakes_with(from: &str, to: &str) -> String {
    let site = site();
    assert!(site.contains(from), "the test replaces what is not there: {from:?}");
    mistakes(&site.replacen(from, to, 1))
}

fn mistakes(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(folder.join(name), text).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_configuration_written_for_firecrest_loads_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let key = KEY.trim_matches('"').replace("\\n", "\n");
    for name in ["service_passphrase", "client_secret", "s3_secret"] {
        write(folder.path(), name, &format!("\n  the {name}\n\n"));
    }
    write(folder.path(), "user_key", &key);
    write(folder.path(), "service_key", &format!("\n  {key}\n\n"));
    write(folder.path(), "config.yaml", &FIRECREST.replace("SECRETS", folder.path().to_str().unwrap()));
    let loaded = config::load(&folder.path().join("config.yaml"), no_env()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.auth.authentication.username_claim, "sub");
    assert_eq!(config.auth.authentication.min_token_ttl, 30);
    let credentials::Config::StaticKeys(keys) = &config.ssh_credentials else { panic!("no static keys") };
    let service = &keys.keys[&goldcrest::domain::Username::new("firesrv").unwrap()];
    assert_eq!(service.private_key.expose(), key.trim(), "a secret from a file is trimmed");
    let names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["slurm-api", "slurm-ssh", "pbs"]);
    assert_eq!(config.clusters[0].scheduler.as_ref().unwrap().connection_mode(), ConnectionMode::Rest);
    assert_eq!(config.clusters[2].scheduler.as_ref().unwrap().kind(), SchedulerType::Pbs);
    assert_eq!(config.clusters[2].probing.interval_check, 60, "the old name of interval_check");
    let [DataTransfer::Streamer(streamer)] = config.clusters[0].data_operation.transfers() else { panic!("no streamer") };
    assert_eq!((streamer.port_range, streamer.wait_timeout), ([5665, 5666], 43200));
    let [DataTransfer::S3(store)] = config.clusters[1].data_operation.transfers() else { panic!("no object store") };
    assert_eq!((store.secret_access_key.expose(), store.bucket_lifecycle_configuration.days), ("the s3_secret", 10));
    assert!(matches!(config.clusters[2].data_operation.transfers(), [DataTransfer::Wormhole(_)]));
    let file = folder.path().join("config.yaml").display().to_string();
    let warnings: Vec<String> = warnings(&loaded).into_iter().map(|warning| warning.replace(&file, "FILE")).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}

#[test]
fn every_mistake_is_told_with_its_key_its_line_and_what_is_allowed() {
    let text = "\
apis_root_path: hpc
app_debug: perhaps
auth:
  authentication:
    tokenUrl: idp
    publicCerts: []
    min_token_ttl: soon
    jwk_algorithm: HS256
  authorization:
    rules:
      - systems: []
      - systems: ['*']
ssh_credentials:
  type: SSHMagic
server:
  listen: everywhere
clusters:
  - name: not a name
    ssh:
      host: login
    scheduler: {type: slurm, version: 1}
    service_account: {client_id: a, secret: hunter2}
    probing: {}
  - name: a
    ssh:
      host: ''
      port: 70000
      proxy_port: 22
      max_channels: 0
      host_keys: trust
    scheduler:
      type: slrum
      version: 24.11
    service_account:
      client_id: [x]
    probing:
      interval_check: -1
    file_systems:
      - path: /home
        data_type: users
";
    insta::assert_snapshot!(mistakes(text));
}

#[test]
fn rules_between_keys_are_checked() {
    let text = site()
        + "\
\x20 - name: DAINT
    ssh: {host: h, port: 0, proxy_port: 22, max_channels: 0, timeout: {login: 0}}
    scheduler: {type: slurm, version: 1, connection_mode: hybrid}
    service_account: {client_id: '', secret: s}
    probing: {services: {exception: {}, ssh: {timeout: 0}}}
  - name: pbs
    ssh: {host: h, proxyHost: jump, proxyPort: 2222}
    scheduler: {type: pbs, version: 1, connection_mode: rest, api_url: 'ftp://x'}
    service_account: {client_id: a, secret: s}
    probing: {}
";
    insta::assert_snapshot!(mistakes(&text));
}

#[test]
fn a_mistake_in_a_variable_is_told_with_its_name() {
    let variables = env([
        ("GOLDCREST__CLUSTERS__0__SSH__PORT", "ssh"),
        ("GOLDCREST__CLUSTERS__7__NAME", "x"),
        ("GOLDCREST__CLUSTERS__FIRST__NAME", "x"),
        ("GOLDCREST__LOGGER", "{"),
    ]);
    insta::assert_snapshot!(config::from_yaml(&site(), variables).unwrap_err().to_string());
}

#[test]
fn the_examples_load_without_a_warning() {
    for name in ["config/goldcrest.example.yaml", "config/kubernetes.example.yaml"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let loaded = config::load(&example, no_env()).unwrap();
        // Where the example is only looked at, its files are not there, its key is a placeholder, and everybody may read it.
        let expected = ["/etc/goldcrest/known_hosts does not exist", "private_key: is no private key", "which everybody can read"];
        let warnings = warnings(&loaded);
        assert!(warnings.iter().all(|warning| expected.iter().any(|expected| warning.contains(expected))), "{name}: {warnings:?}");
    }
}

#[test]
fn the_committed_schema_and_reference_are_up_to_date() {
    let output = goldcrest(&["config-schema", "--check", "--root", env!("CARGO_MANIFEST_DIR")]);
    assert!(output.status.success(), "run `goldcrest config-schema`: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn generated_documents_are_printed_where_there_is_no_source_tree() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest"));
        command.args(arguments).env_clear().current_dir(folder.path()).output().unwrap()
    };
    for (command, member) in [("openapi", "openapi"), ("config-schema", "$schema")] {
        let printed = run(&[command]);
        assert!(printed.status.success(), "{command}: {}", String::from_utf8_lossy(&printed.stderr));
        let document: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert!(document[member].is_string(), "{command}");
        assert_eq!(run(&[command, "--print"]).stdout, printed.stdout);
        let checked = run(&[command, "--check"]);
        assert!(!checked.status.success() && String::from_utf8_lossy(&checked.stderr).contains("--root"), "{command}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The steps that need the network fail here, and are no part of the test.
#[test]
fn check_config_connect_looks_at_the_store_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("var/state");
    let store = format!("store: {{ type: sqlite, state_dir: \"{}\" }}\n", state.display());
    let site = site().replace("https://idp.example.org", "http://127.0.0.1:1").replace("login.example.org", "127.0.0.1");
    write(folder.path(), "site.yaml", &format!("{store}{site}"));
    let checked = goldcrest(&["check-config", "--connect", "--config", folder.path().join("site.yaml").to_str().unwrap()]);
    let printed = String::from_utf8(checked.stdout).unwrap();
    let step = printed.lines().find(|line| line.contains("site: store")).unwrap_or_else(|| panic!("{printed}"));
    let expected = format!(
        "  \u{2713} site: store (not there yet: the service creates {}/store.sqlite, with its directory, and this account may)",
        state.display()
    );
    assert_eq!(step, expected);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the configuration is there");
}

#[test]
fn check_config_exits_with_one_and_names_the_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.yaml", &site());
    write(folder.path(), "bad.yaml", &site().replace("type: slurm", "type: slrum"));
    let check = |name: &str| goldcrest(&["check-config", "--config", folder.path().join(name).to_str().unwrap()]);

    let bad = check("bad.yaml");
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stderr).unwrap();
    assert!(told.contains("bad.yaml:17: clusters[0].scheduler.type: is none of the values allowed: `slrum` (allowed: slurm"), "{told}");

    let good = check("good.yaml");
    assert_eq!(good.status.code(), Some(0));
    let told = String::from_utf8(good.stdout).unwrap().replace(&folder.path().display().to_string(), "FOLDER");
    assert!(!told.contains("hunter2"));
    insta::assert_snapshot!(told);
}

#[test]
fn check_config_shows_what_a_site_has_beyond_the_least() {
    let folder = tempfile::tempdir().unwrap();
    let more = "store: {type: sqlite, state_dir: /srv/state}\nshares: {key: 0123456789abcdef0123456789abcdef, max_uses: 1}\n\
        webhooks: {allowed_networks: [10.20.0.0/16], allow_http: true}\nserver: {reload: watch, maintenance: back at 14:00}\n";
    let cluster = "probing: {}\n    maintenance: new disks\n    commands: {allow: [[squeue], [sinfo]]}\n    \
        job_templates: [{name: one, script: '#!/bin/sh', working_directory: /home/ann}]";
    write(folder.path(), "site.yaml", &(more.to_owned() + &site().replace("probing: {}", cluster)));
    let output = goldcrest(&["check-config", "--config", folder.path().join("site.yaml").to_str().unwrap()]);
    let told = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "\n  store          SQLite, in /srv/state\n",
        "\n  share links    up to 50 of a user, for up to 604800 s and 1 download\n",
        "\n  webhooks       up to 50 of a user on a system, to public addresses and those of 1 network, also over http\n",
        "\n  reload         at SIGHUP, and when the files change\n",
        "\n  maintenance    back at 14:00\n",
        ", no probes, commands by 2 patterns, 1 job template, under maintenance\n",
    ] {
        assert!(told.contains(expected), "{expected:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_command_whose_output_cannot_be_printed_ends_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "site.yaml", &site());
    let site = folder.path().join("site.yaml");
    let check = ["check-config", "--config", site.to_str().unwrap()];
    for arguments in [&["openapi", "--print"][..], &["config-schema", "--print"], &check, &["demo", "--print-config"], &["help"]] {
        let run = |out: std::process::Stdio| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest"));
            let output = command.args(arguments).current_dir(folder.path()).stdout(out).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, told) = run(writer.into());
        // clap prints its help itself.
        let expected = if arguments == ["help"] { 0 } else { 141 };
        assert_eq!((code, told.as_str()), (Some(expected), ""), "{arguments:?}");
        if arguments != ["help"] {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let (code, told) = run(full.into());
            assert_eq!(
                (code, told.as_str()),
                (Some(1), "goldcrest: could not print: No space left on device (os error 28)\n"),
                "{arguments:?}"
            );
        }
    }
}

#[test]
fn check_config_strict_takes_warnings_for_mistakes() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let strict_with = |text: &str, mode: u32| {
        write(folder.path(), "site.yaml", text);
        let file = folder.path().join("site.yaml");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let loose = goldcrest(&["check-config", "--config", file.to_str().unwrap()]);
        let strict = goldcrest(&["check-config", "--strict", "--config", file.to_str().unwrap()]);
        (loose.status.code(), strict.status.code(), String::from_utf8(strict.stderr).unwrap())
    };
    let strict = |text: &str| strict_with(text, 0o640);
    assert_eq!(strict(&site()), (Some(0), Some(0), String::new()));
    write(folder.path(), "warned.yaml", &site().replace("    probing: {}", "    probing: {}\n    nope: 1"));
    let connecting = goldcrest(&["check-config", "--strict", "--connect", "--config", folder.path().join("warned.yaml").to_str().unwrap()]);
    let told = String::from_utf8(connecting.stderr).unwrap();
    assert!(
        connecting.status.code() == Some(1) && told.ends_with("--connect: nothing was tried, because the configuration has mistakes\n"),
        "{told}"
    );
    let (loose, status, told) = strict_with(&site(), 0o644);
    assert_eq!((loose, status), (Some(0), Some(1)));
    assert!(told.contains("site.yaml, which everybody can read: chmod o-r it") && told.matches("is a secret in").count() == 1, "{told}");
    let (loose, status, told) = strict(&site().replace("data_type: users", "data_type: users\n        defaultWorkDirr: true"));
    assert_eq!((loose, status), (Some(0), Some(1)));
    assert!(told.contains("error: ") && told.contains("did you mean `default_work_dir`?"), "{told}");
    assert!(!told.contains("ignored"), "a key that is refused is not ignored: {told}");
}

#[test]
fn the_version_names_the_commit_and_the_level_of_the_api() {
    let told = String::from_utf8(goldcrest(&["--version"]).stdout).unwrap();
    let expected = format!("goldcrest {} (commit ", env!("CARGO_PKG_VERSION"));
    assert!(told.starts_with(&expected) && told.trim_end().ends_with(", API level FirecREST 2.6.0)"), "{told}");
}

fn goldcrest(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn a_maintenance_is_a_text_and_no_switch() {
    let with = |line: &str| read(&site().replace("  - name: daint\n", &format!("  - name: daint\n    {line}\n")));
    let loaded = with("maintenance: back at 14:00").unwrap().config;
    assert_eq!(loaded.clusters[0].maintenance().unwrap().message, "back at 14:00");
    for off in ["maintenance: \"\"", "maintenance:", "maintenance_retry_after: 60"] {
        assert!(with(off).unwrap().config.clusters[0].maintenance().is_none(), "{off}");
    }
    for wrong in ["maintenance: false", "maintenance: True", "maintenance: \"on\"", "maintenance_retry_after: 0"] {
        let error = with(wrong).unwrap_err();
        assert!(error.problems[0].to_string().contains("clusters[0].maintenance"), "{wrong}: {error}");
    }
    let error = read(&format!("server: {{ maintenance: no }}\n{}", site())).unwrap_err();
    assert!(error.problems[0].to_string().contains("server.maintenance"), "{error}");
}

#[test]
fn a_maintenance_is_no_change_of_the_cluster() {
    let prints = |line: &str| read(&site().replace("  - name: daint\n", &format!("  - name: daint\n{line}"))).unwrap().config.fingerprints;
    let (before, after) = (prints(""), prints("    maintenance: back at 14:00\n    maintenance_retry_after: 60\n"));
    assert_eq!(before.clusters, after.clusters);
    assert_ne!(before.document, after.document, "it is seen where the file is watched");
}
