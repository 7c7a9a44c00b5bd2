//! How files and variables are read.

use super::*;

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
fn a_file_that_is_not_there_is_told() {
    let error = config::load(Path::new("/nonexistent/goldcrest.yaml"), no_env()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/goldcrest.yaml: cannot be read"), "{error}");
}
