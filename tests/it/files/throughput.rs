//! How fast the client is against OpenSSH's server through pipes. Run it with `--ignored --nocapture`, best in release.

use std::time::Instant;

use futures::{StreamExt, stream};
use goldcrest::filesystem::{ListOptions, UploadOptions};

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, which takes long and proves nothing"]
async fn stats_a_second_and_megabytes_a_second() {
    let Some(site) = Site::openssh() else { return };
    let path = site.write("f", "12345");
    site.files.stat(&site.user, &path, false).await.unwrap();
    for in_flight in [1, 32] {
        let start = Instant::now();
        let count = 20_000;
        let mut stats = stream::iter(0..count).map(|_| site.files.stat(&site.user, &path, false)).buffer_unordered(in_flight);
        while let Some(stat) = stats.next().await {
            stat.unwrap();
        }
        println!("{in_flight} in flight: {:.0} stats/s", f64::from(count) / start.elapsed().as_secs_f64());
    }
    for number in 0..5_000 {
        site.write(format!("n{number}"), "");
    }
    let start = Instant::now();
    let entries = site.files.list(&site.user, &site.path(""), ListOptions::default()).await.unwrap();
    println!("{} entries listed in {:?}", entries.len(), start.elapsed());
    let big = std::fs::File::create(site.local("big")).unwrap();
    big.set_len(1024 * 1024 * 1024).unwrap();
    let start = Instant::now();
    let mut download = site.files.download(&site.user, &site.path("big"), None, None).await.unwrap();
    while let Some(piece) = download.content.next().await {
        piece.unwrap();
    }
    println!("1 GiB read: {:.0} MB/s", 1073.7 / start.elapsed().as_secs_f64());
    let piece = bytes::Bytes::from(vec![7; 1024 * 1024]);
    let content = stream::iter((0..1024).map(move |_| Ok(piece.clone()))).boxed();
    let start = Instant::now();
    site.files.upload(&site.user, &site.path("up"), content, UploadOptions::default()).await.unwrap();
    println!("1 GiB written: {:.0} MB/s", 1073.7 / start.elapsed().as_secs_f64());
}
