//! The memory for many stalled transfers, in both directions.

use std::fs::DirEntry;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::ssh::proxy::Proxy;
use crate::support::{PATIENCE, wait_for, wait_until};

/// As many as one user has at once, with four connections of eight channels.
const TRANSFERS: usize = 32;

const MIB: u64 = 1024 * 1024;

/// The most that they may add: half a MiB each, the pool that they share, and what their connections and sessions take.
const MAX_ADDED: u64 = 80 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_nothing_of_their_downloads_do_not_fill_the_memory() {
    let double = Double::start(Behaviour::default()).await;
    let (program, token) = program(Site::of("cluster", &double)).await;
    std::fs::File::create(program.files.path().join("large")).unwrap().set_len(64 * MIB).unwrap();
    let before = program.memory();
    let url = format!("{}/filesystem/cluster/ops/download", program.url);
    let path = program.files.path().join("large");
    let download = || async {
        let request = program.http.get(&url).query(&[("path", path.to_str().unwrap())]).header("range", "bytes=0-");
        request.bearer_auth(&token).send().await.unwrap()
    };
    let answers: Vec<Response> = join_all((0..TRANSFERS).map(|_| download())).await;
    // Where the cluster is slow to begin them, the last ones may learn already that the first are not read.
    let taken = answers.iter().filter(|answer| answer.status() == 206).count();
    assert!(taken >= 16 && answers.iter().all(|answer| [206, 429].contains(&answer.status().as_u16())), "{answers:?}");
    let added = settled(&program).await - before;
    assert!(added < MAX_ADDED, "{} MiB", added / MIB);
    // So many clients take nothing. One more is told so, and neither waits nor gets no reason.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let begun = Instant::now();
    let refused = download().await;
    assert_eq!((refused.status().as_u16(), begun.elapsed() < Duration::from_secs(10)), (429, true));
    let words = refused.text().await.unwrap();
    let stalled = format!("{taken} downloads under way, and {taken} of them wait");
    assert!(words.contains(&stalled) || words.contains(&format!("{TRANSFERS} transfers under way")), "{words}");
    drop(answers);
    wait_until(PATIENCE, async || download().await.status() == 206).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_nobody_reads_do_not_fill_the_memory_and_are_bounded_for_each_user() {
    let double = Double::start(Behaviour::default()).await;
    let users = ["ada".to_owned(), "bob".to_owned()];
    let program = Program::start(&[Site::of("cluster", &double)], &users, "").await;
    let path = program.files.path().join("zeros");
    std::fs::File::create(&path).unwrap().set_len(5 * MIB).unwrap();
    let (ada, bob) = (program.token("ada"), program.token("bob"));
    assert_eq!(program.stat("cluster", &ada).await.0, 200);
    let before = program.memory();
    let url = format!("{}/filesystem/cluster/ops/view", program.url);
    let view = |token: &str| program.http.get(&url).query(&[("path", path.to_str().unwrap())]).bearer_auth(token).send();
    let answers: Vec<Response> = join_all((0..30).map(|_| async { view(&ada).await.unwrap() })).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    // 12 of 5 MiB are what fits in 64 MiB.
    assert!((8..=12).contains(&taken.len()) && refused.iter().all(|answer| answer.status() == 429), "{} were taken", taken.len());
    let added = settled(&program).await - before;
    // Written out, each would be six times as large.
    assert!(added < 140 * MIB, "{} MiB", added / MIB);
    assert_eq!(view(&bob).await.unwrap().status(), 200, "that is nothing to others");
    let whole = taken.into_iter().next().unwrap().text().await.unwrap();
    assert_eq!(whole.len() as u64, 5 * MIB * 6 + r#"{"output":""}"#.len() as u64);
    wait_until(PATIENCE, async || view(&ada).await.unwrap().status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_thousand_entries_are_listed_in_flat_memory_in_the_form_of_the_contract() {
    let double = Double::start(Behaviour::default()).await;
    let (program, token) = program(Site::of("cluster", &double)).await;
    let path = program.files.path().join("many");
    std::fs::create_dir(&path).unwrap();
    for number in 0..300_000 {
        std::fs::write(path.join(number.to_string()), "").unwrap();
    }
    let before = program.memory();
    let url = format!("{}/filesystem/cluster/ops/ls", program.url);
    let request = program.http.get(&url).query(&[("path", path.to_str().unwrap())]).bearer_auth(&token).timeout(PATIENCE * 10);
    let answer = request.send().await.unwrap();
    let listing: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(listing["output"].as_array().unwrap().len(), 300_000);
    let added = program.memory() - before;
    assert!(added < 64 * MIB, "{} MiB", added / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_the_cluster_does_not_take_do_not_fill_the_memory() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let (program, token) = program(Site::by("cluster", proxy.port, &double)).await;
    let before = program.memory();
    let uploads = (0..TRANSFERS).map(|number| {
        let path = program.files.path().join(format!("copy{number}"));
        let head = format!(
            "PUT /filesystem/cluster/ops/upload?path={} HTTP/1.1\r\nHost: goldcrest\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n",
            path.display(),
            1024 * MIB
        );
        let address = program.url.trim_start_matches("http://");
        async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(head.as_bytes()).await.unwrap();
            client
        }
    });
    let clients = join_all(uploads).await.into_iter();
    // They send for as long as anything is taken.
    let sending: Vec<_> = clients
        .map(|mut client| tokio::spawn(async move { while client.write_all(&[7; 64 * 1024]).await.is_ok() {} }))
        .map(AbortOnDropHandle::new)
        .collect();
    let large = |entry: std::io::Result<DirEntry>| entry.unwrap().metadata().is_ok_and(|found| found.len() > MIB);
    let under_way = || std::fs::read_dir(program.files.path()).unwrap().filter_map(|entry| large(entry).then_some(())).count();
    wait_for(PATIENCE, || under_way() == TRANSFERS).await;
    proxy.freeze();
    let added = settled(&program).await - before;
    assert!(added < MAX_ADDED, "{} MiB", added / MIB);
    drop(sending);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_slow_readers_of_one_user_those_over_the_bound_are_told_so_at_once() {
    const READERS: usize = 100;
    let double = Double::start(Behaviour::default()).await;
    let (program, token) = program(Site::of("cluster", &double)).await;
    let path = program.files.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(64 * MIB).unwrap();
    let head = format!(
        "GET /filesystem/cluster/ops/download?path={} HTTP/1.1\r\nHost: goldcrest\r\nAuthorization: Bearer {token}\r\nRange: bytes=0-\r\n\
         Connection: close\r\n\r\n",
        path.display()
    );
    let (told, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let reader = || {
        let (address, head, told) = (program.url.trim_start_matches("http://").to_owned(), head.clone(), told.clone());
        async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            let begun = Instant::now();
            client.write_all(head.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            client.read_exact(&mut status).await.unwrap();
            let (status, took) = (str::from_utf8(&status).unwrap()[9..].to_owned(), begun.elapsed());
            let mut words = String::new();
            if status != "206" {
                client.read_to_string(&mut words).await.unwrap();
            }
            told.send((status, took, words)).unwrap();
            // As a client behind a line of 1 kB/s.
            let mut second = tokio::time::interval(Duration::from_secs(1));
            while client.read(&mut [0; 1000]).await.is_ok_and(|read| read > 0) {
                second.tick().await;
            }
        }
    };
    let _readers: Vec<_> = (0..READERS).map(|_| AbortOnDropHandle::new(tokio::spawn(reader()))).collect();
    let mut refused = Vec::new();
    for _ in 0..READERS {
        let (status, took, words) = tokio::time::timeout(3 * PATIENCE, answers.recv()).await.expect("each is answered").unwrap();
        if status != "206" {
            assert!(status == "429" && words.contains("under way"), "{status} after {took:?}: {words}");
            refused.push(took);
        }
    }
    refused.sort();
    // Where the cluster is slow to begin them, the last ones may learn already that the first take next to nothing.
    let taken = READERS - refused.len();
    assert!((TRANSFERS / 2..=TRANSFERS).contains(&taken), "{taken} were taken");
    let (median, longest) = (refused[refused.len() / 2], refused[refused.len() - 1]);
    assert!(median < Duration::from_secs(2) && longest < Duration::from_secs(10), "{median:?}, {longest:?}");
}

async fn program(site: Site) -> (Program, String) {
    let users = ["ada".to_owned()];
    let program = Program::start(&[site], &users, "").await;
    let token = program.token(&users[0]);
    assert_eq!(program.stat("cluster", &token).await.0, 200);
    (program, token)
}

/// The memory of the program once it takes no more.
async fn settled(program: &Program) -> u64 {
    let mut last = 0;
    loop {
        let now = program.memory();
        if now.abs_diff(last) < MIB / 4 {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
