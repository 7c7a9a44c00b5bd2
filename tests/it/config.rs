//! Configuration files as sites write them, right and wrong.

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
fn the_place_of_transfer_jobs_and_their_directives_are_checked() {
    let of = |settings: &str| site() + &format!("    data_operation: {{{settings}}}\n");
    for directory in ["home/x", "/scratch/{username}", "/home/../{username}"] {
        let said = mistakes(&of(&format!("datatransferJobsDirectory: '{directory}'")));
        assert!(said.contains("clusters[0].data_operation.datatransfer_jobs_directory: lies in none of the file_systems"), "{said}");
    }
    let loaded = read(&of("datatransferJobsDirectory: '/home/{username}', datatransfer_jobs_directives: ['#PBS -V', '-pxfer']")).unwrap();
    let said: Vec<String> = warnings(&loaded).into_iter().filter(|warning| warning.contains("data_operation")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("datatransfer_jobs_directives[1]: does not start with #"), "{said:?}");
}

#[test]
fn an_object_store_has_addresses_and_parts_that_can_be() {
    let of = |settings: &str| {
        let store = "service_type: s3, name: store, access_key_id: a, secret_access_key: b, region: eu, private_url: 'http://s3'";
        site() + &format!("    data_operation: {{data_transfer: {{{store}, {settings}}}}}\n")
    };
    for (settings, key) in [
        ("public_url: s3, ttl: 60", "public_url"),
        ("public_url: 'https://s3', ttl: 0", "ttl"),
        ("public_url: 'https://s3', ttl: 60, multipart: {max_part_size: 0}", "multipart.max_part_size"),
        ("public_url: 'https://s3', ttl: 60, multipart: {parallel_runs: 0}", "multipart.parallel_runs"),
        ("public_url: 'https://s3', ttl: 60, bucket_lifecycle_configuration: {days: 0}", "bucket_lifecycle_configuration.days"),
    ] {
        let said = mistakes(&of(settings));
        assert!(said.contains(&format!("clusters[0].data_operation.data_transfer.{key}: ")), "{said}");
    }
    let private = of("public_url: 'https://s3', ttl: 60").replace("'http://s3'", "'http://user:hunter2@s3'");
    assert!(mistakes(&private).contains("private_url") && !mistakes(&private).contains("hunter2"), "{}", mistakes(&private));
    let loaded = read(&of("public_url: 'https://s3', ttl: 604801, multipart: {max_part_size: 1000}")).unwrap();
    let said: Vec<String> = warnings(&loaded).into_iter().filter(|warning| warning.contains("data_transfer")).collect();
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn transfer_services_are_one_or_a_list_and_a_system_that_says_nothing_has_a_streamer() {
    let with =
        |services: &str| site() + &format!("    data_operation: {{datatransfer_jobs_directory: /home, data_transfer: {services}}}\n");
    let methods = |text: &str| -> Vec<String> {
        let config = read(text).unwrap().config;
        config.clusters[0].data_operation.transfers().iter().map(|service| service.method().as_str().to_owned()).collect()
    };
    assert_eq!(methods(&with("{service_type: streamer}")), ["streamer"]);
    let store = "service_type: s3, name: s, access_key_id: a, secret_access_key: b, region: eu, ttl: 60, private_url: 'http://s3', public_url: 'http://s3'";
    assert_eq!(methods(&with(&format!("[{{{store}}}, {{serviceType: streamer}}]"))), ["s3", "streamer"]);
    assert_eq!(methods(&with("[]")), Vec::<String>::new());
    assert_eq!(methods(&with("")), ["streamer"]);
    assert_eq!(methods(&site()), Vec::<String>::new(), "its jobs have no directory");

    let loaded = read(&(with("") + "server: {listen: '127.0.0.2:8000'}\n")).unwrap();
    let [DataTransfer::Streamer(streamer)] = loaded.config.clusters[0].data_operation.transfers() else { panic!("no streamer") };
    assert_eq!((streamer.host.as_deref(), streamer.port_range, streamer.wait_timeout), (Some("127.0.0.2"), [5665, 5675], 86_400));

    let twice = mistakes(&with("[{service_type: streamer}, {service_type: streamer}]"));
    assert!(twice.contains("data_transfer[1].service_type: a system has one service of each type, and streamer is given twice"), "{twice}");
    let range = mistakes(&with("[{service_type: streamer, port_range: [2, 1], public_ips: [], wait_timeout: 0}]"));
    for key in ["port_range: ends before it begins", "public_ips: is empty", "wait_timeout: is zero"] {
        assert!(range.contains(&format!("data_transfer[0].{key}")), "{range}");
    }
    let kind = mistakes(&with("[{service_type: ftp}]"));
    assert!(kind.contains("data_transfer[0].service_type") && kind.contains("s3 | wormhole | streamer"), "{kind}");
}

#[test]
fn the_version_of_a_rest_api_must_be_one_and_is_not_looked_at_without_one() {
    let scheduler = |more: &str| site().replace("type: slurm", &format!("type: slurm\n      api_version: '42'{more}"));
    let rest = scheduler("\n      connection_mode: rest\n      api_url: http://slurm:6820");
    assert!(mistakes(&rest).contains("scheduler.api_version"), "{}", mistakes(&rest));
    read(&scheduler("")).unwrap();
    let new = rest.replace("'42'", "0.0.99");
    assert!(warnings(&read(&new).unwrap()).iter().any(|warning| warning.contains("scheduler.api_version")));
    let key = site().replace("type: slurm", "type: slurm\n      jwt_key_file: /key");
    assert!(warnings(&read(&key).unwrap()).iter().any(|warning| warning.contains("scheduler.jwt_key_file")));
}

#[test]
fn a_scheduler_has_the_keys_of_its_type_and_those_of_others_are_unknown() {
    let of = |section: &str| site().replace("type: slurm\n      version: 24.11.0", section);
    for (section, said) in [
        (
            "type: pbs\n      version: 23\n      connection_mode: hybrid",
            "connection_mode: is none of the values allowed: `hybrid` (allowed: ssh)",
        ),
        ("version: 23", "type: is missing (allowed: slurm | pbs | local)"),
        ("type: local", "version: is missing (allowed: a text)"),
        (
            "type: pbs\n      version: 23\n      pbs: {account: me}",
            "pbs.account: is none of the values allowed: `me` (allowed: project or account_name)",
        ),
    ] {
        let told = mistakes(&of(section));
        assert!(told.contains(&format!("clusters[0].scheduler.{said}")), "{told}");
    }
    let other =
        "type: pbs\n      version: 23\n      connectionMode: ssh\n      timeout: 10\n      jwt_key_file: /key\n      local: {slots: 1}";
    let told: Vec<String> = warnings(&read(&of(other)).unwrap()).into_iter().filter(|warning| warning.contains("scheduler")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("scheduler.jwt_key_file: unknown key") && told[1].contains("scheduler.local: unknown key"), "{told:?}");
}

#[test]
fn a_system_may_lack_ssh_or_a_scheduler_but_not_what_the_other_needs() {
    let without_ssh = site().replace("    ssh:\n      host: login.example.org\n", "");
    let rest = without_ssh.replace("24.11.0", "24.11.0\n      connection_mode: rest\n      api_url: http://slurm:6820");
    let said =
        |text: &str| warnings(&read(text).unwrap()).into_iter().filter(|warning| warning.contains("clusters[0]")).collect::<Vec<_>>();
    assert!(
        mistakes(&without_ssh).contains("clusters[0].ssh: is missing: the scheduler's commands are run over SSH"),
        "{}",
        mistakes(&without_ssh)
    );
    let told = said(&rest);
    assert!(told.len() == 1 && told[0].ends_with("clusters[0].file_systems: has no effect without ssh"), "{told:?}");
    let probed = said(&rest.replace("probing: {}", "probing: {services: {scheduler: {}, ssh: {}}}"));
    assert!(
        probed.iter().any(|warning| warning.contains("probing.services.ssh: has no effect: the system has no such service")),
        "{probed:?}"
    );
    let files = site().replace("    scheduler:\n      type: slurm\n      version: 24.11.0\n", "");
    assert_eq!(said(&files), [""; 0]);
    let nothing = files.replace("    ssh:\n      host: login.example.org\n", "");
    assert!(mistakes(&nothing).contains("clusters[0]: has neither ssh nor scheduler"), "{}", mistakes(&nothing));

    let no_keys = |text: &str| {
        let (before, section) = text.split_once("ssh_credentials:\n").unwrap();
        let after: String = section.split_inclusive('\n').skip_while(|line| line.starts_with(' ')).collect();
        format!("{before}{after}")
    };
    let loaded = read(&no_keys(&rest)).unwrap();
    assert!(goldcrest::app::App::build(loaded.config).is_ok());
    assert!(mistakes(&no_keys(&site())).contains("ssh_credentials: is missing"), "{}", mistakes(&no_keys(&site())));
}

#[test]
fn unknown_keys_are_warned_of_with_the_nearest_known_one() {
    let text = site().replace("      host: login", "      max_chanels: 3\n      frobnicate: [1, 2]\n      host: login");
    let loaded = read(&text).unwrap();
    assert_eq!(
        warnings(&loaded),
        [
            "line 15: clusters[0].ssh.max_chanels: unknown key, ignored; did you mean `max_channels`?",
            "line 16: clusters[0].ssh.frobnicate: unknown key, ignored",
        ]
    );
}

#[test]
fn logged_headers_that_will_not_be_logged_are_warned_of() {
    let headers = |enabled: bool| {
        site()
            + &format!(
                "logger:\n  enableTracingLog: {enabled}\n  loggableRequestHeaders:\n    - {{input: Cookie, output: c}}\n    - {{input: x-a, output: a}}\n"
            )
    };
    let loaded = read(&headers(true)).unwrap();
    let key = "logger.loggable_request_headers";
    let warned = |loaded: &Loaded, text: &str| warnings(loaded).iter().filter(|warning| warning.contains(text)).count();
    assert_eq!(warned(&loaded, &format!("{key}[0].input: names a header that carries secrets")), 1, "{:?}", warnings(&loaded));
    assert_eq!(warned(&loaded, key), 1);
    assert_eq!(warned(&read(&headers(false)).unwrap(), "has no effect without logger.enable_tracing_log"), 2);
}

#[test]
fn keys_that_are_data_stay_as_they_are() {
    let text = site().replace("    ann:", "    annMaria:");
    let credentials::Config::StaticKeys(keys) = read(&text).unwrap().config.ssh_credentials else { panic!("no static keys") };
    assert!(keys.keys.contains_key(&goldcrest::domain::Username::new("annMaria").unwrap()));
}

#[test]
fn versions_and_secrets_that_look_like_numbers_are_texts() {
    let text = site().replace("24.11.0", "24.10").replace("hunter2", "0123");
    let config = read(&text).unwrap().config;
    assert_eq!(config.clusters[0].scheduler.as_ref().unwrap().common().version, "24.10");
    assert_eq!(config.clusters[0].service_account.secret.expose(), "0123");
}

#[test]
fn a_number_or_truth_value_in_quotes_is_taken() {
    let text = site().replace("host: login.example.org", "host: h\n      port: \"2222\"") + "app_debug: 'yes'\n";
    let config = read(&text).unwrap().config;
    assert_eq!((ssh(&config, 0).port, config.app_debug), (2222, true));
}

#[test]
fn the_freshness_of_reads_is_a_second_and_may_be_a_fraction_or_nothing_but_no_age() {
    let with = |value: &str| site().replace("24.11.0", &format!("24.11.0\n      readFreshness: {value}"));
    let freshness = |text: &str| read(text).unwrap().config.clusters[0].scheduler.as_ref().unwrap().freshness();
    assert_eq!(freshness(&site()), std::time::Duration::from_secs(1));
    assert_eq!(freshness(&with("0.25")), std::time::Duration::from_millis(250));
    assert_eq!(freshness(&with("0")), std::time::Duration::ZERO);
    for wrong in ["-1", "3601", "inf", "nan", "soon"] {
        assert!(mistakes(&with(wrong)).contains("read_freshness"), "{wrong}: {}", mistakes(&with(wrong)));
    }
}

#[test]
fn an_openfga_section_as_firecrest_has_it_is_understood() {
    let text = site().replace("ssh_credentials:", "  authorization:\n    url: http://fga:8080\n    maxConnections: 7\nssh_credentials:");
    match read(&text).unwrap().config.auth.authorization {
        Some(authz::Config::OpenFga(fga)) => assert_eq!((fga.url.as_str(), fga.max_connections), ("http://fga:8080", 7)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_an_openfga_section_says_must_be_possible() {
    let with = |lines: &str| {
        let section = format!("  authorization:\n    url: http://fga:8080\n{lines}ssh_credentials:");
        site().replace("ssh_credentials:", &section)
    };
    let account = |url: &str| format!("    clientCredentials:\n      tokenUrl: {url}\n      clientId: a\n      clientSecret: hunter2\n");
    match read(&with(&(account("https://id.example.org/token") + "    groupType: group\n"))).unwrap().config.auth.authorization {
        Some(authz::Config::OpenFga(fga)) => {
            assert_eq!((fga.group_type.as_deref(), fga.group_relation.as_str()), (Some("group"), "member"));
            assert_eq!(fga.client_credentials.unwrap().client_secret.expose(), "hunter2");
        }
        other => panic!("{other:?}"),
    }
    let told = mistakes(&with(&(account("https://id.example.org/token") + "    apiToken: key\n")));
    assert!(told.contains("auth.authorization.client_credentials: cannot be combined with api_token"), "{told}");
    let told = mistakes(&with(&account("id.example.org")));
    assert!(told.contains("auth.authorization.client_credentials.token_url"), "{told}");
    for (key, word) in [("groupType", "a group"), ("groupRelation", "group#member"), ("relation", "''"), ("objectType", "system:daint")] {
        let told = mistakes(&with(&format!("    {key}: \"{}\"\n", word.trim_matches('\''))));
        assert!(told.contains("is no name that an OpenFGA model can have"), "{key}: {told}");
    }
}

#[test]
fn an_authorization_section_of_neither_kind_is_refused() {
    let text = site().replace("ssh_credentials:", "  authorization:\n    timeout: 1\nssh_credentials:");
    assert_eq!(mistakes(&text), "line 7: auth.authorization: lacks the key that determines its kind (allowed: url | rules)");
}

#[test]
fn a_pinned_host_key_that_is_none_is_a_mistake() {
    let pinned = |keys: &str| mistakes_with("host: login.example.org", &format!("host: h\n      host_keys:\n        pinned: {keys}"));
    let told = pinned("[AAAA]");
    assert!(told.contains("clusters[0].ssh.host_keys.pinned: holds a line that is no public key (allowed: lines such as"), "{told}");
    assert!(pinned("[]").contains("clusters[0].ssh.host_keys.pinned: is empty"), "{}", pinned("[]"));
}

#[test]
fn metrics_are_off_until_an_address_is_given_and_never_where_the_api_listens() {
    assert!(read(&site()).unwrap().config.metrics.is_none());
    let of = |listen: &str| site() + &format!("server: {{listen: '127.0.0.1:8000'}}\nmetrics: {{listen: '{listen}'}}\n");
    for listen in ["127.0.0.1:9090", "[::1]:8000", "10.0.0.1:8000"] {
        assert_eq!(read(&of(listen)).unwrap().config.metrics.unwrap().listen.to_string(), listen);
    }
    for listen in ["127.0.0.1:8000", "0.0.0.0:8000", "[::]:8000"] {
        let told = mistakes(&of(listen));
        assert!(told.contains("metrics.listen: is where the API listens (server.listen)"), "{told}");
    }
    let told = mistakes(&of("monitoring:9090"));
    assert!(told.contains("metrics.listen: is no IP address with a port"), "{told}");
    assert!(mistakes(&(site() + "metrics: {}\n")).contains("metrics.listen"), "an address is needed");
}

#[test]
fn a_name_to_listen_on_is_a_mistake_that_shows_addresses() {
    let told = mistakes(&(site() + "server:\n  listen: localhost:8000\n"));
    assert!(told.contains("server.listen: is no IP address with a port, such as 127.0.0.1:8000"), "{told}");
}

#[test]
fn a_rule_for_a_cluster_that_is_not_there_is_a_warning() {
    let rules = "  authorization:\n    rules:\n      - {systems: [elsewhere, \"*\"], users: [ann]}\nssh_credentials:";
    let loaded = config::from_yaml(&site().replace("ssh_credentials:", rules), no_env()).unwrap();
    assert_eq!(warnings(&loaded), ["line 9: auth.authorization.rules[0].systems[0]: is the name of no cluster"]);
}

#[test]
fn no_key_set_is_a_mistake() {
    assert_eq!(
        mistakes_with("[https://idp.example.org/certs]", "[]"),
        "line 4: auth.authentication.public_certs: names no key set: no token could be verified (allowed: a list of https://, http:// or file:/// URLs)"
    );
}

#[test]
fn a_key_given_twice_is_a_mistake() {
    assert_eq!(
        mistakes_with("    issuer:", "    token_url: http://other\n    issuer:"),
        "line 5: the key \"token_url\" is given twice, first at line 3"
    );
    assert_eq!(
        mistakes_with("    issuer:", "    tokenUrl: http://other\n    issuer:"),
        "line 3: auth.authentication.token_url: given twice, in two spellings"
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    let message = mistakes("auth:\n  a: [1, 2\nb: 3\n");
    assert!(message.starts_with("line 3: not valid YAML"), "{message}");
    assert!(mistakes("").contains("the file is empty"));
    assert!(mistakes("- a\n- b\n").contains("is not of the right kind"));
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = site()
        .replace("    ssh:\n      host: login.example.org\n", "    ssh: &ssh\n      host: login.example.org\n      port: 2222\n")
        + "  - name: eiger\n    ssh: {<<: *ssh, port: 22}\n    scheduler: {type: slurm, version: 1}\n"
        + "    service_account: {client_id: a, secret: b}\n    probing: {}\n    file_systems: []\n";
    let config = read(&text).unwrap().config;
    assert_eq!((ssh(&config, 1).host.as_str(), ssh(&config, 1).port), ("login.example.org", 22));
}

#[test]
fn aliases_that_multiply_and_deep_nesting_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{previous}]\n");
    }
    assert!(mistakes(&bomb).contains("too many values"));
    let nested = mistakes(&format!("a: {}", "[".repeat(3000)));
    assert!(nested.contains("nested too deeply") || nested.contains("ecursion"), "{nested}");
    assert!(mistakes(&"#".repeat(5 * 1024 * 1024)).contains("larger than"));
}

#[test]
fn no_message_repeats_a_secret() {
    let text = site().replace("secret: hunter2", "secret: [hunter2]").replace(KEY, "{hunter2: 1}") + "server: {listen: anywhere}\n";
    let message = mistakes(&text);
    assert!(message.contains("service_account.secret") && message.contains("private_key"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_secret_file_that_is_missing_or_empty_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "empty", " \n");
    let line = 1 + site().lines().position(|line| line.contains("hunter2")).unwrap();
    let folder = folder.path().display();
    let message = mistakes_with("hunter2", &format!("secret_file:{folder}/empty"));
    assert_eq!(message, format!("line {line}: clusters[0].service_account.secret: the secret file {folder}/empty is empty"));
    let message = mistakes_with("hunter2", &format!("secret_file:{folder}/missing"));
    assert!(message.contains("/missing cannot be read"), "{message}");
}

#[test]
fn clusters_may_be_a_folder_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = |name: &str| {
        format!(
            "name: {name}\nssh: {{host: h}}\nscheduler: {{type: slurm, version: 1}}\n\
             serviceAccount: {{client_id: a, secret: b}}\nprobing: {{}}\nfile_systems: [{{path: /home, data_type: users}}]\n"
        )
    };
    write(folder.path(), "b.yaml", &cluster("second"));
    write(folder.path(), "a.yaml", &cluster("first"));
    write(folder.path(), "notes.txt", "not a cluster");
    let text = format!("{SITE}clusters: path:{}\n", folder.path().display());
    let config = config::from_yaml(&text, env([("GOLDCREST__CLUSTERS__1__SSH__HOST", "other")])).unwrap().config;
    let names: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(ssh(&config, 1).host, "other");

    write(folder.path(), "b.yaml", &cluster("second").replace("host", "hots"));
    let message = mistakes(&text).replace(&folder.path().display().to_string(), "FOLDER");
    assert_eq!(message, "FOLDER/b.yaml:2: clusters[1].ssh.host: is missing (allowed: a text)");
}

#[test]
fn a_prefixed_variable_wins_over_the_file() {
    let variables = env([
        ("GOLDCREST__AUTH__AUTHENTICATION__USERNAME_CLAIM", "uid"),
        ("GOLDCREST__CLUSTERS__0__SSH__PORT", "2222"),
        ("GOLDCREST__CLUSTERS__0__FILE_SYSTEMS__1", r#"{"path": "/scratch", "dataType": "scratch"}"#),
        ("goldcrest__app_debug", "true"),
        ("GOLDCREST__SSH_CREDENTIALS__KEYS__ANN__PRIVATE_KEY", "another key"),
        ("GOLDCREST_UNRELATED", "x"),
    ]);
    let config = config::from_yaml(&site(), variables).unwrap().config;
    assert_eq!(config.auth.authentication.username_claim, "uid");
    assert_eq!(ssh(&config, 0).port, 2222);
    assert_eq!(config.clusters[0].file_systems[1].path.to_text(), "/scratch");
    assert!(config.app_debug);
    let credentials::Config::StaticKeys(keys) = &config.ssh_credentials else { panic!("no static keys") };
    assert_eq!(keys.keys[&goldcrest::domain::Username::new("ann").unwrap()].private_key.expose(), "another key");
}

#[test]
fn a_bare_variable_fills_in_what_the_file_leaves_out() {
    let variables =
        env([("APIS_ROOT_PATH", "/hpc/"), ("AUTH", r#"{"authentication": {"token_url": "http://not-this", "jwk_algorithm": "RS256"}}"#)]);
    let config = config::from_yaml(&site(), variables).unwrap().config;
    assert_eq!(config.apis_root_path, "/hpc");
    assert_eq!(config.auth.authentication.token_url.as_deref(), Some("https://idp.example.org/token"));
    assert_eq!(config.auth.authentication.jwk_algorithm.as_deref(), Some("RS256"));
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
fn a_file_that_is_not_there_is_told() {
    let error = config::load(Path::new("/nonexistent/goldcrest.yaml"), no_env()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/goldcrest.yaml: cannot be read"), "{error}");
}

#[test]
fn the_example_loads_without_a_warning() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/goldcrest.example.yaml");
    let loaded = config::load(&example, no_env()).unwrap();
    // Where the example is only looked at, its files are not there, its key is a placeholder, and everybody may read it.
    let expected = ["/etc/goldcrest/known_hosts does not exist", "private_key: is no private key", "which everybody can read"];
    let warnings = warnings(&loaded);
    assert!(warnings.iter().all(|warning| expected.iter().any(|expected| warning.contains(expected))), "{warnings:?}");
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
    let (loose, status, told) = strict_with(&site(), 0o644);
    assert_eq!((loose, status), (Some(0), Some(1)));
    assert!(told.contains("site.yaml, which everybody can read: chmod o-r it") && told.matches("is a secret in").count() == 1, "{told}");
    let (loose, status, told) = strict(&site().replace("data_type: users", "data_type: users\n        defaultWorkDirr: true"));
    assert_eq!((loose, status), (Some(0), Some(1)));
    assert!(told.contains("error: ") && told.contains("did you mean `default_work_dir`?"), "{told}");
}

#[test]
fn a_private_key_with_which_nobody_can_log_in_is_told_with_its_file_and_what_to_do() {
    use russh::keys::ssh_key::LineEnding;
    let folder = tempfile::tempdir().unwrap();
    let key = russh::keys::PrivateKey::random(&mut russh::keys::key::safe_rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let locked = key.encrypt(&mut russh::keys::key::safe_rng(), "hunter2").unwrap();
    write(folder.path(), "junk", "hunter2");
    write(folder.path(), "locked", &locked.to_openssh(LineEnding::LF).unwrap());
    write(folder.path(), "good", &key.to_openssh(LineEnding::LF).unwrap());
    write(folder.path(), "good.pub", &key.public_key().to_openssh().unwrap());
    let with = |name: &str, more: &str| {
        let file = folder.path().join(name);
        (site().replace(KEY, &format!("secret_file:{}{more}", file.display())), file.display().to_string())
    };
    for (name, words) in
        [("junk", "is no private key in OpenSSH or PEM form: make one"), ("locked", "is encrypted, and there is no passphrase: set")]
    {
        let (text, file) = with(name, "");
        let told = warnings(&read(&text).unwrap()).join("\n");
        let expected = format!("ssh_credentials.keys.ann.private_key: in the secret file {file} {words}");
        assert!(told.contains(&expected) && !told.contains("hunter2"), "{told}");
    }
    for (name, more) in [("good", ""), ("locked", "\n      passphrase: hunter2")] {
        let told = warnings(&read(&with(name, more).0).unwrap()).join("\n");
        assert!(!told.contains("in the secret file"), "{told}");
    }
    let (text, file) = with("good.pub", "");
    let told = mistakes(&text);
    assert!(told.contains(&format!("private_key: in the secret file {file} is a public key")), "{told}");
}

#[test]
fn what_can_never_work_is_a_mistake_and_what_is_dangerous_a_warning() {
    let server = mistakes(&(site() + "server:\n  tlss: {certificate: a, private_key: b}\n"));
    assert!(server.contains("server.tlss: unknown key; did you mean `tls`?"), "no key of the server is ignored: {server}");
    let tls = mistakes(&(site() + "server:\n  tls: {certificate: /nowhere/cert.pem, private_key: b}\n"));
    assert!(tls.contains(": server.tls.certificate: /nowhere/cert.pem cannot be read"), "{tls}");
    let rules = "  authorization:\n    url: http://openfga:8080\n    rules: [{systems: ['*'], users: ['*']}]\nssh_credentials:";
    let both = mistakes_with("ssh_credentials:", rules);
    assert!(both.contains("auth.authorization.rules: has no effect beside `url`: choose one of them"), "{both}");
    let keys = "host: login.example.org\n      host_keys: {known_hosts: /a, pinned: []}";
    let both = mistakes_with("host: login.example.org", keys);
    assert!(both.contains("clusters[0].ssh.host_keys.pinned: has no effect beside `known_hosts`"), "{both}");
    let service = mistakes_with("probing: {}", "probing: {services: {filesytem: {timeout: 5}}}");
    assert!(
        service.contains("clusters[0].probing.services.filesytem: unknown key; did you mean `filesystem`? (allowed: ssh | scheduler"),
        "{service}"
    );
    let host = mistakes_with("host: login.example.org", "host: ssh://login.example.org");
    assert!(host.contains("clusters[0].ssh.host: is no host: `ssh://login.example.org`"), "{host}");
    let host = mistakes_with("host: login.example.org", "host: login.example.org:2222");
    assert!(host.contains("user and port have keys of their own"), "{host}");
    let key = mistakes_with(KEY, "ssh-ed25519 AAAA ada@laptop");
    assert!(key.contains("ssh_credentials.keys.ann.private_key: is a public key") && !key.contains("AAAA"), "{key}");

    let warned = |from: &str, to: &str| warnings(&read(&site().replacen(from, to, 1)).unwrap()).join("\n");
    let ssh = "      host: login.example.org\n";
    let known_hosts = warned(ssh, &format!("{ssh}      host_keys: {{known_hosts: /nowhere/known_hosts}}\n"));
    assert!(known_hosts.contains("the file /nowhere/known_hosts does not exist"), "{known_hosts}");
    let first_use = warned(ssh, &format!("{ssh}      host_keys: trust_on_first_use\n"));
    assert!(first_use.contains("for evaluation only"), "{first_use}");
    let wormhole = "    probing: {}\n    data_operation: {data_transfer: {service_type: wormhole}}\n";
    let wormhole = warned("    probing: {}\n", wormhole);
    assert!(wormhole.contains("wormhole is not built yet"), "{wormhole}");
}

#[test]
fn an_origin_with_a_path_is_told_with_the_origin_to_write() {
    let told = |origin: &str| warnings(&read(&format!("{}server:\n  cors_allowed_origins: ['{origin}']\n", site())).unwrap()).join("\n");
    for (origin, right) in [
        ("https://portal.example.org/hpc", "https://portal.example.org"),
        ("https://portal.example.org/", "https://portal.example.org"),
        ("https://Portal.example.org:443", "https://portal.example.org"),
        ("http://localhost:3000/app", "http://localhost:3000"),
    ] {
        let told = told(origin);
        let expected = format!(
            "server.cors_allowed_origins[0]: is no origin, and no page of that site could call the API: `{origin}` (allowed: {right},"
        );
        assert!(told.contains(&expected), "{told}");
    }
    for origin in ["https://portal.example.org", "http://localhost:3000", "*", "null", "moz-extension://0123-abcd"] {
        assert!(!told(origin).contains("cors_allowed_origins"), "{}", told(origin));
    }
    let mistake = mistakes(&format!("{}server:\n  cors_allowed_origins: [portal.example.org]\n", site()));
    assert!(mistake.contains("server.cors_allowed_origins[0]: not a usable URL") && mistake.contains("or `*` for all"), "{mistake}");
}

#[test]
fn a_file_system_whose_path_climbs_is_a_mistake() {
    for (path, meant) in [("/home/..", "/"), ("/home/./ada", "/home/ada"), ("/scratch/../home", "/home")] {
        let told = mistakes_with("path: /home", &format!("path: {path}"));
        let expected =
            format!("clusters[0].file_systems[0].path: {path} has a part `.` or `..`: write the directory that is meant, such as {meant}");
        assert!(told.contains(&expected), "{told}");
    }
    for path in ["/home/", "//home", "/home/..x"] {
        assert!(read(&site().replacen("path: /home", &format!("path: {path}"), 1)).is_ok(), "{path}");
    }
}

#[test]
fn proxies_and_the_header_that_they_write_are_set_together() {
    let told = |server: &str| warnings(&read(&format!("{}server:\n{server}", site())).unwrap()).join("\n");
    let (proxies, header) = ("  trusted_proxies: [127.0.0.1]\n", "  forwarding_header: forwarded\n");
    let without_header = told(proxies);
    assert!(without_header.contains("server.forwarding_header: is not set beside server.trusted_proxies"), "{without_header}");
    assert!(without_header.contains("(allowed: x-forwarded-for | forwarded)"), "{without_header}");
    let without_proxies = told(header);
    assert!(without_proxies.contains("server.trusted_proxies: is not set beside server.forwarding_header"), "{without_proxies}");
    for server in [format!("{proxies}{header}"), "  request_timeout: 60\n".to_owned()] {
        let told = told(&server);
        assert!(!told.contains("trusted_proxies") && !told.contains("forwarding_header"), "{told}");
    }
    let variable = [("GOLDCREST__SERVER__FORWARDING_HEADER", "forwarded")];
    let loaded = config::from_yaml(&format!("{}server:\n{proxies}", site()), env(variable)).unwrap();
    assert!(!warnings(&loaded).join("\n").contains("forwarding_header"), "a variable sets it too: {:?}", warnings(&loaded));
}

#[test]
fn a_known_hosts_file_without_the_host_is_told_with_the_command_that_reads_its_key() {
    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_hosts");
    let told = |known: &str, more: &str| {
        std::fs::write(&file, known).unwrap();
        let ssh = "      host: login.example.org\n";
        let text = site().replacen(ssh, &format!("{ssh}{more}      host_keys: {{known_hosts: {}}}\n", file.display()), 1);
        warnings(&read(&text).unwrap()).into_iter().filter(|warning| warning.contains("known_hosts")).collect::<Vec<_>>().join("\n")
    };
    let revoked = format!("@revoked login.example.org {LINE}\n");
    for known in ["", "# nothing\n", &format!("other.example.org {LINE}\n"), "login.example.org ssh-ed25519 broken\n", &revoked] {
        let told = told(known, "");
        assert!(
            told.contains("clusters[0].ssh.host_keys.known_hosts: the file") && told.contains("has no key of login.example.org:22"),
            "{told}"
        );
        assert!(told.contains("`ssh-keyscan -p 22 login.example.org`"), "{told}");
    }
    let known = format!("login.example.org {LINE}\n");
    assert_eq!(told(&known, ""), "");
    assert_eq!(told(&format!("@cert-authority *.example.org {LINE}\n"), ""), "");
    assert!(told(&known, "      port: 2222\n").contains("has no key of login.example.org:2222"));
    let jump = told(&known, "      proxy_host: jump.example.org\n");
    assert!(jump.contains("has no key of jump.example.org:22") && !jump.contains("login.example.org:22"), "{jump}");
}

#[test]
fn a_mistake_shows_the_value_that_is_wrong_unless_it_may_be_a_secret() {
    let listen = mistakes(&(site() + "server:\n  listen: localhost:8000\n"));
    assert!(listen.contains("server.listen: ") && listen.contains(": `localhost:8000`"), "{listen}");
    let url = mistakes_with("token_url: https://idp.example.org", "token_url: idp.example.org");
    assert!(url.contains("token_url: not a usable URL: ") && url.contains(": `idp.example.org"), "{url}");
    let url = mistakes_with("token_url: https://idp.example.org", "token_url: https://ann:hunter2@idp.example.org");
    assert!(url.contains("it holds a user name or password") && !url.contains("hunter2"), "{url}");
    let text = site().replacen("audience: [goldcrest]", "audience: goldcrest", 1);
    let error = read(&text).unwrap_err();
    assert!(error.to_string().contains("audience: is not of the right kind: `goldcrest` (allowed: a list)"), "{error}");
    assert!(error.warnings.iter().all(|warning| !warning.path.contains("audience")), "{:?}", error.warnings);
}

#[test]
fn a_key_that_is_not_that_of_the_certificate_is_told_once() {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/tls");
    let told = mistakes(&format!("{}server:\n  tls: {{certificate: {place}/one.pem, private_key: {place}/two.key}}\n", site()));
    assert!(told.ends_with("server.tls.private_key: the private key is not that of the certificate"), "{told}");
}

#[test]
fn a_secret_file_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let text = site().replace("secret: hunter2", &format!("secret: secret_file:{}", secret.display()));
    for (mode, warned) in [(0o604, true), (0o640, false)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = warnings(&read(&text).unwrap()).join("\n");
        assert_eq!(warnings.contains("can be read by everybody"), warned, "{mode:o}: {warnings}");
    }
}

#[test]
fn a_private_key_of_tls_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/tls");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("one.key");
    std::fs::copy(fixtures.join("one.key"), &key).unwrap();
    let certificate = fixtures.join("one.pem");
    let text = site() + &format!("server:\n  tls: {{certificate: {}, private_key: {}}}\n", certificate.display(), key.display());
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = warnings(&read(&text).unwrap()).join("\n");
        assert_eq!(warnings.contains("server.tls.private_key"), warned, "{mode:o}: {warnings}");
    }
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

/// The site's file with another source of SSH credentials.
fn with_credentials(section: &str) -> String {
    let (before, _) = SITE.split_once("ssh_credentials:").unwrap();
    format!("{before}ssh_credentials:\n{section}{CLUSTER}")
}

fn mistakes_of_credentials(section: &str) -> Vec<String> {
    read(&with_credentials(section)).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_sections_of_firecrest_for_key_services_load_unchanged() {
    for kind in ["SSHService", "SSHCA"] {
        let loaded =
            read(&with_credentials(&format!("  type: \"{kind}\"\n  url: \"http://192.168.240.22:2280/demoCA\"\n  max_connections: 500\n")))
                .unwrap();
        assert_eq!(warnings(&loaded), Vec::<String>::new());
        let (url, most) = match &loaded.config.ssh_credentials {
            credentials::Config::KeyService(config) => (&config.url, config.max_connections),
            credentials::Config::SshCa(config) => (&config.url, config.max_connections),
            other => panic!("{other:?}"),
        };
        assert_eq!((url.as_str(), most), ("http://192.168.240.22:2280/demoCA", 500));
        let told = mistakes_of_credentials(&format!("  type: {kind}\n  url: user:hunter2@host\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("line 9: ssh_credentials.url: is not a usable URL") && !told[0].contains("hunter2"), "{told:?}");
    }
}

#[test]
fn what_is_wrong_with_an_authoritys_key_is_told_with_its_key_and_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let key = russh::keys::PrivateKey::random(&mut russh::keys::key::safe_rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let text = |key: &russh::keys::PrivateKey| key.to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap().to_string();
    write(folder.path(), "ca", &text(&key));
    write(folder.path(), "locked", &text(&key.encrypt(&mut russh::keys::key::safe_rng(), "hunter2").unwrap()));
    write(folder.path(), "ca.pub", &key.public_key().to_openssh().unwrap());
    let section = |more: &str| format!("  type: SSHCertificateAuthority\n{more}\n");
    let told = |more: &str| {
        let mistakes = mistakes_of_credentials(&section(more));
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(!mistakes[0].contains("hunter2"), "{mistakes:#?}");
        mistakes[0].clone()
    };
    let secret = |name: &str| format!("  private_key: secret_file:{}", file(name));
    let contains = |more: &str, words: &str| assert!(told(more).contains(words), "{words}: {}", told(more));
    contains(&secret("nowhere"), "ssh_credentials.private_key: the secret file");
    contains("  private_key: hunter2", "ssh_credentials.private_key: is no private key in OpenSSH or PEM form");
    contains(&secret("ca.pub"), &format!("ssh_credentials.private_key: in the secret file {} is a public key", file("ca.pub")));
    contains(&secret("locked"), "ssh_credentials.passphrase: is missing: the private key is encrypted");
    contains(&format!("{}\n  passphrase: hunter22", secret("locked")), "ssh_credentials.passphrase: does not open the private key");
    contains(
        &format!("{}\n  source_address: [10.0.0.0/8, 10.0.0.1/8]", secret("ca")),
        "ssh_credentials.source_address[1]: has bits set beyond",
    );
    contains(
        &format!("{}\n  validity: 5", secret("ca")),
        "ssh_credentials.validity: is not of the right kind: `5` (allowed: a whole number from 10 to 86400)",
    );
    contains(
        &format!("{}\n  extensions: [permit-x11-forwarding]", secret("ca")),
        "ssh_credentials.extensions[0]: is none of the values allowed",
    );
    contains("  validity: 60", "ssh_credentials.private_key: is missing");

    let good =
        with_credentials(&section(&format!("{}\n  passphrase: hunter2\n  validity: 600\n  extensions: [permit-pty]", secret("locked"))));
    let credentials::Config::Authority(config) = read(&good).unwrap().config.ssh_credentials else { panic!("another type") };
    assert_eq!((config.validity, config.clock_skew, config.extensions.len()), (600, 60, 1));

    let jump = good.replace("host: login.example.org", "host: h\n      proxy_host: jump");
    let told = read(&jump).unwrap_err().to_string();
    assert!(told.contains("clusters[0].ssh.proxy_host: is set") && told.contains("`permit-port-forwarding`"), "{told}");
    assert!(read(&jump.replace("[permit-pty]", "[permit-port-forwarding]")).is_ok());
}

#[test]
fn a_cluster_may_have_its_own_source_of_credentials() {
    let own = site().replace("host: login.example.org", "host: h\n      credentials: {type: SSHService, url: 'http://keys'}");
    let config = read(&own).unwrap().config;
    assert!(matches!(config.ssh_credentials, credentials::Config::StaticKeys(_)));
    assert!(matches!(ssh(&config, 0).credentials, Some(credentials::Config::KeyService(_))));
    let told = read(&own.replace("http://keys", "keys")).unwrap_err().to_string();
    assert!(told.contains("clusters[0].ssh.credentials.url: is not a usable URL"), "{told}");
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
