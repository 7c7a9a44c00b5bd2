//! Byte streams over a real OpenSSH server: stalled readers, and the throughput of one that reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldcrest::ssh::{ByteStream, CommandLine, Lanes, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::openssh::Sshd;
use super::{OneKey, command, config, exec, lanes};
use crate::support::{PATIENCE, principal, wait_until};

/// Lanes on which everything of a kind shares one connection.
fn server() -> Option<(Sshd, Arc<Lanes>, String)> {
    let sshd = Sshd::start("")?;
    let lanes = sshd.lanes_with(|config| config.max_connections_per_user = 1);
    let user = sshd.user.clone();
    Some((sshd, lanes, user))
}

fn zeros(bytes: u64) -> CommandLine {
    CommandLine::new("head -c").number(bytes).flag("/dev/zero")
}

async fn output(lanes: &Lanes, user: &str, line: &CommandLine) -> ByteStream {
    lanes.output_stream(&principal(user), line).await.unwrap()
}

/// Reads a stream to its end and tells how much there was.
async fn drain(stream: &mut ByteStream) -> std::io::Result<u64> {
    tokio::io::copy(stream, &mut tokio::io::sink()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stall_stop_nothing_else_on_their_connection() {
    let Some((_sshd, lanes, user)) = server() else { return };
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(output(&lanes, &user, &zeros(100_000_000)).await);
    }
    // As much as the connection would take of all of them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let beside = async {
        let mut upload = lanes.stream(&principal(&user), &CommandLine::new("cat | wc -c")).await.unwrap();
        for _ in 0..100 {
            upload.write_all(&[7; 100_000]).await.unwrap();
        }
        upload.shutdown().await.unwrap();
        let mut answer = String::new();
        upload.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.trim(), "10000000");
        assert_eq!(drain(&mut output(&lanes, &user, &zeros(50_000_000)).await).await.unwrap(), 50_000_000);
    };
    tokio::time::timeout(PATIENCE, beside).await.expect("nothing waits for those who do not read");
    assert_eq!(lanes.stats().opened, 1);
    for stream in &mut stalled {
        assert_eq!(drain(stream).await.unwrap(), 100_000_000, "it goes on where it was left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_whole_and_its_end_tells_how_the_command_ended() {
    let Some((_sshd, lanes, user)) = server() else { return };
    for size in [0, 1, 32 * 1024, 1 << 20, (1 << 20) + 1, 7_654_321] {
        assert_eq!(drain(&mut output(&lanes, &user, &zeros(size)).await).await.unwrap(), size);
    }
    let mut numbers = Vec::new();
    output(&lanes, &user, &CommandLine::new("seq 1000000")).await.read_to_end(&mut numbers).await.unwrap();
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(numbers == expected.as_bytes(), "{} bytes", numbers.len());
    let mut failing = output(&lanes, &user, &CommandLine::new("echo text; echo noise >&2; cat; exit 3")).await;
    let mut content = Vec::new();
    let error = failing.read_to_end(&mut content).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), content.as_slice()), ("Remote process failed with exit status:3", &b"text\n"[..]));
    let killed = drain(&mut output(&lanes, &user, &CommandLine::new("sh -c").arg("kill -9 $$")).await).await.unwrap_err();
    assert_eq!(killed.to_string(), "Remote process failed with exit status:137");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_any_more_ends_on_the_cluster_and_gives_its_channel_back() {
    let Some((sshd, lanes, user)) = server() else { return };
    let mark = sshd.path("mark");
    let line = || CommandLine::new("echo $$ >").arg(mark.as_os_str().as_encoded_bytes()).flag("; exec cat /dev/zero");
    for _ in 0..12 {
        let mut stream = output(&lanes, &user, &line()).await;
        stream.read_exact(&mut [0; 1000]).await.unwrap();
    }
    let running = || async {
        exec(&lanes, &user, command(CommandLine::new("pgrep -u").arg(&user).flag("-fx").arg("cat /dev/zero"))).await.unwrap().exit
    };
    wait_until(PATIENCE, async || running().await == 1).await;
}

/// Carries bytes on after a delay, however many are on their way.
async fn delayed(target: u16, delay: Duration) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            for (mut read, mut write) in [(near_read, far_write), (far_read, near_write)] {
                let (sender, mut pieces) = tokio::sync::mpsc::channel(4096);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = read.read(&mut buffer).await {
                        let _ = sender.send((Instant::now() + delay, buffer[..length].to_vec())).await;
                    }
                });
                tokio::spawn(async move {
                    while let Some((at, piece)) = pieces.recv().await {
                        tokio::time::sleep_until(at.into()).await;
                        if write.write_all(&piece).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, which takes long and proves nothing"]
async fn megabytes_a_second_of_one_output() {
    let Some(sshd) = Sshd::start("") else { return };
    for (round_trip, size) in [(0, 1 << 30), (100, 1 << 28)] {
        let port = delayed(sshd.port, Duration::from_millis(round_trip / 2)).await;
        for port in if round_trip == 0 { [sshd.port; 2] } else { [port; 2] } {
            let lanes = lanes(config(port, &sshd.host_key), OneKey::new(&sshd.user_key));
            for is_metered in [false, true, false, true] {
                let started = Instant::now();
                let mut stream = match is_metered {
                    true => output(&lanes, &sshd.user, &zeros(size)).await,
                    false => lanes.stream(&principal(&sshd.user), &zeros(size)).await.unwrap(),
                };
                let mut buffer = bytes::BytesMut::new();
                let mut read = 0;
                while {
                    buffer.clear();
                    buffer.reserve(256 * 1024);
                    stream.read_buf(&mut buffer).await.unwrap()
                } > 0
                {
                    read += buffer.len() as u64;
                }
                assert_eq!(read, size);
                let speed = size as f64 / 1e6 / started.elapsed().as_secs_f64();
                eprintln!("metered {is_metered}, round trip {round_trip} ms: {speed:.0} MB/s");
            }
        }
    }
}
