//! The sections of credentials.

use super::*;

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
        assert!(told[0].starts_with("line 9: ssh_credentials.url: not a usable URL") && !told[0].contains("hunter2"), "{told:?}");
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
    assert!(
        told.contains("clusters[0].ssh.credentials.url: not a usable URL: it does not parse: `keys` (allowed: an http:// or https:// URL)"),
        "{told}"
    );
}
