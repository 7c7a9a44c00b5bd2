//! One user at all limits, and another one who requests the status of a file meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::{Either, join, join_all, select};

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::support::{PATIENCE, wait_for};

/// The bound of the user's requests, and the clients that try to have more under way.
const MAX_REQUESTS: usize = 160;
const CLIENTS: usize = 200;

/// As many as one user may have.
const TRANSFERS: usize = 32;

/// Clients that search with the costliest pattern. One user has eight under way.
const SEARCHES: usize = 12;
const COSTLY: &str = "(?s-u:.)*(?s-u:.){900}c";

/// Until so much is under way, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(60);

/// How a request was answered.
#[derive(Default)]
struct Answered {
    taken: AtomicUsize,
    refused: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_the_limits_does_not_move_the_times_of_others() {
    let double = Double::start(Behaviour::default()).await;
    let users = ["ada".to_owned(), "bob".to_owned()];
    let limits = |text: String| text.replacen("server: { ", &format!("server: {{ max_requests_per_user: {MAX_REQUESTS}, "), 1);
    let program = Program::spawn_with(&[Site::of("cluster", &double)], &users, limits).await;
    program.is_up().await;
    let [ada, bob] = users.each_ref().map(|user| program.token(user));
    for token in [&ada, &bob] {
        assert_eq!(program.stat("cluster", token).await.0, 200);
    }
    let file = |name: &str| program.files.path().join(name).to_str().unwrap().to_owned();
    std::fs::File::create(file("large")).unwrap().set_len(64 << 20).unwrap();
    std::fs::write(file("lines"), [[b'b'; 32 * 1024].as_slice(), b"\n"].concat().repeat(16)).unwrap();
    let before = program.percentile("cluster", &bob).await;

    let path = file("large");
    let large = [("path", path.as_str())];
    let (searches, checksums) = (Answered::default(), Answered::default());
    let lines = [("path", file("lines")), ("bytes", (512 * 1024).to_string()), ("grep", COSTLY.to_owned())];
    let search = (0..SEARCHES).map(|_| insist(&program, &ada, "tail", &lines, &searches));
    // The cluster never ends them.
    let owned = large.map(|(name, path)| (name, path.to_owned()));
    let checksum = (0..CLIENTS).map(|_| insist(&program, &ada, "checksum", &owned, &checksums));
    let standing = AtomicUsize::new(0);
    let refused = |answered: &Answered| answered.refused.load(Ordering::Relaxed) > 0;
    let load = std::pin::pin!(join(join_all(search), async {
        // Later, what stands still and what hangs takes all the channels that the searches read their files by.
        wait_for(LONG, || refused(&searches)).await;
        // They stand still: nobody reads their answers.
        let downloads = join_all((0..TRANSFERS).map(|_| ask(&program, &ada, "download", &large))).await;
        standing.store(downloads.iter().filter(|answer| answer.status() == 206).count(), Ordering::Relaxed);
        join_all(checksum).await
    }));
    let measure = std::pin::pin!(async {
        wait_for(LONG * 2, || refused(&searches) && refused(&checksums)).await;
        program.percentile("cluster", &bob).await
    });
    let Either::Right((during, _)) = select(load, measure).await else { panic!("the load ended") };
    let count = |answered: &AtomicUsize| answered.load(Ordering::Relaxed);
    let standing = count(&standing);
    assert!(standing >= 16, "{standing} downloads stand still");
    println!(
        "stat of another user, 99th percentile of {}: {before:?} alone; {during:?} beside {standing} downloads that stand still, \
         {} searches answered and {} refused, {} checksums answered and {} refused",
        super::REQUESTS,
        count(&searches.taken),
        count(&searches.refused),
        count(&checksums.taken),
        count(&checksums.refused),
    );
    // One search on a thread that serves requests would take seconds, and so would a wait behind the other one's requests.
    assert!(during < before * 5 + Duration::from_millis(750), "the 99th percentile went from {before:?} to {during:?}");
}

async fn ask(program: &Program, token: &str, operation: &str, query: &[(&str, &str)]) -> reqwest::Response {
    let url = format!("{}/filesystem/cluster/ops/{operation}", program.url);
    program.http.get(&url).query(query).header("range", "bytes=0-").bearer_auth(token).send().await.unwrap()
}

/// Asks again and again.
async fn insist(program: &Program, token: &str, operation: &str, query: &[(&str, String)], answered: &Answered) {
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    loop {
        let begun = Instant::now();
        let answer = ask(program, token, operation, &query).await;
        let status = answer.status().as_u16();
        let words = answer.text().await.unwrap();
        assert!(matches!(status, 200 | 408 | 413 | 429 | 503), "{operation}: {status} {words}");
        if status == 429 {
            assert!(begun.elapsed() < PATIENCE, "a refusal came after {:?}", begun.elapsed());
            answered.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            answered.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}
