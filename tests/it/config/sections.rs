//! What a section says must be possible.

use super::*;

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
        ("version: 23", "type: is missing (allowed: slurm | pbs | local | kubernetes)"),
        ("type: local", "version: is missing (allowed: a text)"),
        (
            "type: pbs\n      version: 23\n      pbs: {account: me}",
            "pbs.account: is none of the values allowed: `me` (allowed: project | account_name)",
        ),
    ] {
        let told = mistakes(&of(section));
        assert!(told.contains(&format!("clusters[0].scheduler.{said}")), "{told}");
    }
    let other = "type: pbs\n      version: 23\n      connectionMode: ssh\n      timeout: 10\n      jwt_key_file: /key\n      local: {slots: 1}\n      \
         job_mirror: {push: {listen: 127.0.0.1:8095, secret: sixteen-letters-}}";
    let told: Vec<String> = warnings(&read(&of(other)).unwrap()).into_iter().filter(|warning| warning.contains("scheduler")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("scheduler.jwt_key_file: unknown key") && told[1].contains("scheduler.local: unknown key"), "{told:?}");
    assert!(told[2].contains("scheduler.job_mirror.push: has no effect: only Slurm sends what it takes"), "{told:?}");
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
fn every_mistake_of_a_section_is_told_at_once() {
    let told = mistakes(&(site() + "server:\n  reload: always\n  listen: localhost:8000\n  drain_timeout: soon\n"));
    for key in ["server.reload: ", "server.listen: is no IP address", "server.drain_timeout: "] {
        assert_eq!(told.matches(key).count(), 1, "{key} in {told}");
    }
}

#[test]
fn a_rule_for_a_cluster_that_is_not_there_is_a_warning() {
    let rules = "  authorization:\n    rules:\n      - {systems: [elsewhere, Diant, \"*\"], users: [ann]}\nssh_credentials:";
    let text = site().replace("ssh_credentials:", rules);
    let loaded = config::from_yaml(&text, no_env()).unwrap();
    let expected = [
        "line 9: auth.authorization.rules[0].systems[0]: is the name of no cluster: `elsewhere`",
        "line 9: auth.authorization.rules[0].systems[1]: is the name of no cluster: `Diant`; did you mean `daint`?",
    ];
    assert_eq!(warnings(&loaded), expected);
    // The cluster is there, and has a mistake.
    let error = config::from_yaml(&text.replace("name: daint", "nane: daint"), no_env()).unwrap_err();
    assert!(!error.warnings.iter().any(|warning| warning.to_string().contains("name of no cluster")), "{error:?}");
}

#[test]
fn no_key_set_is_a_mistake() {
    assert_eq!(
        mistakes_with("[https://idp.example.org/certs]", "[]"),
        "line 4: auth.authentication.public_certs: names no key set: no token could be verified (allowed: a list of https://, http:// or file:/// URLs)"
    );
}
