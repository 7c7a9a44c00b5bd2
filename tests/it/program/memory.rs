//! What many transfers that get stuck hold in memory, at either end.

use std::fs::DirEntry;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::ssh::proxy::Proxy;
use crate::support::{PATIENCE, wait_for};

/// As many as one user has at once, with four connections of eight channels.
const TRANSFERS: usize = 32;

const MIB: u64 = 1024 * 1024;

/// The most that they may add: half a MiB each, the pool that they share, and what their connections and sessions take.
const MOST_ADDED: u64 = 80 * MIB;

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
    assert!(answers.iter().all(|answer| answer.status() == 206), "{answers:?}");
    let added = settled(&program).await - before;
    assert!(added < MOST_ADDED, "{} MiB", added / MIB);
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
    assert!(added < MOST_ADDED, "{} MiB", added / MIB);
    drop(sending);
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
