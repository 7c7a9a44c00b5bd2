//! What can never work, and what works and is dangerous.

use super::*;

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
    // Trying a passphrase takes a moment, which a start does not.
    write(folder.path(), "site.yaml", &with("locked", "\n      passphrase: hunter22").0);
    let site = folder.path().join("site.yaml");
    let wrong = "ssh_credentials.keys.ann.passphrase: does not open the private key beside it";
    for (loaded, expected) in [(config::examine(&site, no_env()), true), (config::load(&site, no_env()), false)] {
        let told = warnings(&loaded.unwrap()).join("\n");
        assert_eq!(told.contains(wrong), expected, "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    write(folder.path(), "site.yaml", &with("locked", "\n      passphrase: hunter2").0);
    let told = warnings(&config::examine(&site, no_env()).unwrap()).join("\n");
    assert!(!told.contains("passphrase"), "{told}");
    for (name, more) in [("good", ""), ("locked", "\n      passphrase: hunter2")] {
        let told = warnings(&read(&with(name, more).0).unwrap()).join("\n");
        assert!(!told.contains("in the secret file"), "{told}");
    }
    let (text, file) = with("good.pub", "");
    let told = mistakes(&text);
    assert!(told.contains(&format!("private_key: in the secret file {file} is a public key")), "{told}");
}

#[test]
fn a_key_of_a_user_whom_no_token_may_name_is_never_used() {
    let text = site().replace("    ann:", "    Root:");
    let told = warnings(&read(&text).unwrap()).join("\n");
    let expected = "ssh_credentials.keys.Root: is never used, because no token may name this user: it is the name of a system account";
    assert!(told.contains(expected), "{told}");
    let own =
        text.replace("host: login.example.org", "host: h\n      credentials: {type: SSHStaticKeys, keys: {daemon: {private_key: x}}}");
    let told = warnings(&read(&own).unwrap()).join("\n");
    assert!(told.contains("clusters[0].ssh.credentials.keys.daemon: is never used"), "{told}");
    assert!(!warnings(&read(&site()).unwrap()).join("\n").contains("is never used"));
}

/// Sections in which a misspelt key would be one that grants more than was meant.
#[test]
fn a_misspelt_key_opens_nothing_that_was_to_be_closed() {
    let auth = |more: &str| mistakes(&site().replace("ssh_credentials:", &format!("  {more}\nssh_credentials:")));
    let authentication = |more: &str| mistakes(&site().replace("  authentication:\n", &format!("  authentication:\n    {more}\n")));
    let rule = "authorization: {rules: [{systems: ['*'], users: [ada], relation: [read]}]}";
    let cluster = |more: &str| mistakes(&site().replace("probing: {}", &format!("probing: {{}}\n    {more}")));
    for (told, expected) in [
        (auth("authorisation: {url: http://fga:8080}"), "auth.authorisation: unknown key; did you mean `authorization`?"),
        (auth(rule), "auth.authorization.rules[0].relation: unknown key; did you mean `relations`?"),
        (
            auth("authorization: {url: http://fga:8080, object_typ: a}"),
            "auth.authorization.object_typ: unknown key; did you mean `object_type`?",
        ),
        (authentication("audiance: hpc"), "auth.authentication.audiance: unknown key; did you mean `audience`?"),
        (authentication("isuer: https://id.example.org"), "auth.authentication.isuer: unknown key; did you mean `issuer`?"),
        (cluster("commands: {allowed: []}"), "clusters[0].commands.allowed: unknown key; did you mean `allow`?"),
        (
            mistakes(&(site() + "webhooks: {allowed_networkss: []}\n")),
            "webhooks.allowed_networkss: unknown key; did you mean `allowed_networks`?",
        ),
        (mistakes(&(site() + "shares: {key: k, max_use: 1}\n")), "shares.max_use: unknown key; did you mean `max_uses`?"),
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
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
fn a_wrong_value_is_reported_once() {
    let told = mistakes_with("public_certs: [https://idp.example.org/certs]", "public_certs: https://idp.example.org/certs");
    assert_eq!(
        told,
        "line 4: auth.authentication.public_certs: is not of the right kind: `https://idp.example.org/certs` (allowed: a list)"
    );
    let rules = "  authorization:\n    rules: [{systems: ['*'], users: ada}]\nssh_credentials:";
    let told = mistakes_with("ssh_credentials:", rules);
    assert_eq!(told, "line 8: auth.authorization.rules[0].users: is not of the right kind: `ada` (allowed: a list)");
}

#[test]
fn a_key_of_the_top_level_that_stands_in_a_section_leads_there() {
    let told = mistakes(&(site() + "server: {apis_root_path: /hpc}\n"));
    let hint = "server.apis_root_path: unknown key; `apis_root_path` stands at the top level, outside of every section";
    assert!(told.contains(hint), "{told}");
    let told = warnings(&read(&site().replace("    probing: {}", "    probing: {}\n    sshCredentials: {}")).unwrap()).join("\n");
    assert!(told.contains("clusters[0].sshCredentials: unknown key, ignored; `ssh_credentials` stands at the top level"), "{told}");
}

#[test]
fn a_file_of_known_hosts_that_is_a_device_exists_and_is_none() {
    let with = |file: &str| site().replace("host: login.example.org", &format!("host: h\n      host_keys: {{known_hosts: {file}}}"));
    let told = warnings(&read(&with("/dev/null")).unwrap()).join("\n");
    assert!(told.contains("known_hosts: /dev/null is no regular file") && !told.contains("does not exist"), "{told}");
    let told = warnings(&read(&with("/nowhere/known_hosts")).unwrap()).join("\n");
    assert!(told.contains("the file /nowhere/known_hosts does not exist"), "{told}");
}

#[test]
fn the_users_keys_are_told_to_be_named() {
    let told = mistakes_with("  keys:", "  keys: []\n  others:");
    assert!(told.contains("ssh_credentials.keys: is not of the right kind (allowed: a section with a name as each key)"), "{told}");
}

#[test]
fn a_key_of_a_section_that_stands_outside_it_leads_there() {
    let told = warnings(&read(&site().replace("    probing: {}", "    probing: {}\n    max_clients: 5")).unwrap()).join("\n");
    assert!(told.contains("clusters[0].max_clients: unknown key, ignored; did you mean `ssh.max_clients`?"), "{told}");
    let told = warnings(&read(&(site() + "listen: 0.0.0.0:80\n")).unwrap()).join("\n");
    assert!(!told.contains("did you mean"), "more than one section has that key: {told}");
}

#[test]
fn all_values_that_are_allowed_are_named_and_a_wrong_expression_is_shown_as_written() {
    let size = "probing: {}\n    data_operation: {max_ops_file_size: 5MB}";
    let told = mistakes_with("probing: {}", size);
    assert!(told.ends_with("max_ops_file_size: is not of the right kind: `5MB` (allowed: a whole number from 0 | none)"), "{told}");
    let told = mistakes_with("probing: {}", "probing: {}\n    commands: {allow: [[ls, '~(a']]}");
    assert!(told.contains("    (a\n") && !told.contains("^(?:"), "{told}");
}

#[test]
fn a_file_system_that_is_named_twice_is_a_warning() {
    let twice = "data_type: users\n      - path: /home/\n        data_type: scratch";
    let told = warnings(&read(&site().replace("data_type: users", twice)).unwrap()).join("\n");
    assert!(told.contains("clusters[0].file_systems[1].path: is the path of file_systems[0] already"), "{told}");
}

#[test]
fn a_variable_with_one_underscore_too_few_is_a_warning_with_its_right_name() {
    let variables = [
        ("GOLDCREST_SERVER__LISTEN", "127.0.0.1:1"),
        ("goldcrest_app_debug", "true"),
        ("GOLDCREST_LOG", "info"),
        ("GOLDCREST_COMMIT", "abc"),
        ("GOLDCREST__SERVER__DRAIN_TIMEOUT", "5"),
    ];
    let told = warnings(&config::from_yaml(&site(), env(variables)).unwrap());
    let expected = [
        "environment variable GOLDCREST_SERVER__LISTEN: is not read: the name of a variable for a key is GOLDCREST__SERVER__LISTEN",
        "environment variable goldcrest_app_debug: is not read: the name of a variable for a key is GOLDCREST__app_debug",
    ];
    assert_eq!(told, expected);
}
