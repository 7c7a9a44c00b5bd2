//! Addresses that webhooks must not have: those that only this host, or its site, can reach, in every notation.

use goldcrest::notify::{Config, Timing, WebhookError, Webhooks};

use super::{ada, for_all, store};

const REFUSED: &[&str] = &[
    // Loopback: plain, short, decimal, octal, hexadecimal, with a dot at the end.
    "127.0.0.1",
    "127.8.9.10",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "127.0.0.1.",
    "0177.0x0.0.01",
    "0.0.0.0",
    "0",
    "0x0",
    // In digits and dots of other scripts, and escaped.
    "１２７.０.０.１",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "①②⑦.0.0.1",
    // IPv6, and IPv4 in it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2002:a9fe:a9fe::]",
    "[::ffff:169.254.169.254]",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.1.1]",
    // Private networks.
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "012.0.0.1",
    "0xa.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "2886729729",
    "192.168.0.1",
    "3232235521",
    "0xc0a80001",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "100.64.0.1",
    "100.127.255.254",
    // Link-local, with the services of clouds.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[fe80::1]",
    // Multicast, broadcast, reserved, documentation.
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.5",
    "[ff02::1]",
    "[2001:db8::1]",
    "[2001::1]",
    "[3fff::1]",
    "[100::1]",
    // Names.
    "localhost",
    "LOCALHOST",
    "localhost.",
    "nowhere.invalid",
];

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_however_they_are_written() {
    assert!(REFUSED.len() >= 60);
    let folder = tempfile::tempdir().unwrap();
    let webhooks = Webhooks::new(store(folder.path()), Config::default(), Timing::default()).unwrap();
    for host in REFUSED {
        for url in [format!("https://{host}/hook"), format!("https://{host}:8443/hook")] {
            let refused = webhooks.register(&ada(), for_all(&url)).await;
            assert!(matches!(refused, Err(WebhookError::Url(_))), "{url}: {refused:?}");
        }
    }
    for url in [
        "http://1.1.1.1/",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "gopher://1.1.1.1/",
        "https://user:password@1.1.1.1/",
        "https://1.1.1.1@127.0.0.1/",
        "https:///hook",
        "//1.1.1.1/",
        "",
        "hook",
        &format!("https://1.1.1.1/{}", "x".repeat(2048)),
    ] {
        let refused = webhooks.register(&ada(), for_all(url)).await;
        assert!(matches!(refused, Err(WebhookError::Url(_))), "{url}: {refused:?}");
    }
    assert!(webhooks.list(&ada()).await.unwrap().is_empty());
    for url in ["https://1.1.1.1/hook", "https://[2606:4700::1111]:8443/hook?a=b"] {
        webhooks.register(&ada(), for_all(url)).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_does_not_say_what_a_name_means_or_whether_it_means_anything() {
    let folder = tempfile::tempdir().unwrap();
    let webhooks = Webhooks::new(store(folder.path()), Config::default(), Timing::default()).unwrap();
    let mut reasons = Vec::new();
    for host in ["localhost", "localhost.", "nowhere.invalid", "10.0.0.1", "[::1]"] {
        match webhooks.register(&ada(), for_all(&format!("https://{host}/hook"))).await {
            Err(WebhookError::Url(reason)) => reasons.push(reason),
            other => panic!("{host}: {other:?}"),
        }
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
}

#[tokio::test]
async fn what_the_site_allows_is_registered_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { allowed_networks: vec!["10.20.0.0/16".parse().unwrap()], ..Config::default() };
    let webhooks = Webhooks::new(store(folder.path()), config, Timing::default()).unwrap();
    for (url, is_allowed) in
        [("https://10.20.1.2/", true), ("https://[::ffff:10.20.1.2]/", true), ("https://10.21.1.2/", false), ("http://10.20.1.2/", false)]
    {
        assert_eq!(webhooks.register(&ada(), for_all(url)).await.is_ok(), is_allowed, "{url}");
    }
}

#[tokio::test]
async fn an_address_that_is_allowed_no_more_is_not_called() {
    use std::time::Duration;

    let (site, service) = (super::Site::new(), super::receiver().await);
    // It does not run, so that it holds no lease.
    let permissive = Webhooks::new(store(site.folder.path()), super::permissive(), super::TIMING).unwrap();
    permissive.register(&ada(), for_all(&service.url)).await.unwrap();
    // The next configuration allows loopback no more.
    let config = Config { allow_http: true, ..Config::default() };
    let strict = Webhooks::new(store(site.folder.path()), config, super::TIMING).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let (running, token) = (strict.clone(), stop.clone());
    let systems = || vec![ada().system];
    tokio::spawn(async move { running.run(systems, token).await });
    site.happens("7", "ada", "RUNNING").await;
    let failed = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(failure) = strict.list(&ada()).await.unwrap().remove(0).backlog.failure {
                break failure;
            }
        }
    };
    let failure = tokio::time::timeout(crate::support::PATIENCE, failed).await.unwrap();
    stop.cancel();
    assert!(service.seen().is_empty());
    assert!(failure.reason.contains("no address that may be called") && !failure.reason.contains("127.0"), "{}", failure.reason);
}

#[tokio::test]
async fn an_address_with_a_character_that_no_address_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let webhooks = Webhooks::new(store(folder.path()), Config::default(), Timing::default()).unwrap();
    for url in
        ["ht\ntps://1.1.1.1/", "https://1.1.1.1/\r\nX: y", "https://1.1.1.1\\@example.org/", " https://1.1.1.1/", "https://1.1.1.1/\u{85}"]
    {
        let outcome = webhooks.register(&ada(), for_all(url)).await;
        assert!(matches!(&outcome, Err(WebhookError::Url(reason)) if reason.contains("a control character")), "{url:?}: {outcome:?}");
    }
}
