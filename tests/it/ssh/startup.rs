//! Start-up files of login shells that print, break and redefine things, against a real OpenSSH server.

use std::sync::Arc;
use std::time::Duration;

use goldcrest::error::Classify;
use goldcrest::ssh::{CommandLine, Exec, Lanes, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::openssh::Sshd;
use super::{command, exec, limits, sh};
use crate::support::principal;

/// A server whose users have a start-up file with this text.
fn server(startup: &str) -> Option<(Sshd, Arc<Lanes>, String)> {
    let startup = startup.replace('"', "\\\"");
    let forced = format!("ForceCommand exec bash -c \"{startup}\neval \\\"\\$SSH_ORIGINAL_COMMAND\\\"\"").replace('\n', "; ");
    let sshd = Sshd::start(&forced)?;
    let lanes = sshd.lanes_with(|config| config.keep_shells = true);
    let user = sshd.user.clone();
    Some((sshd, lanes, user))
}

async fn stream(lanes: &Lanes, user: &str, line: &CommandLine, input: &[u8]) -> Result<Vec<u8>, TransportError> {
    let mut stream = lanes.stream(&principal(user), line).await?;
    stream.write_all(input).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut output = Vec::new();
    stream.read_to_end(&mut output).await.unwrap();
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_start_up_files_do_each_way_to_run_a_command_gives_its_output_alone() {
    let input: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    for startup in [
        "echo NOISE",
        "printf NOISE",
        "echo NOISE >&2",
        "head -c 100000 /dev/zero",
        "read line",
        "set -eu\nset -o noclobber\nexport SHELLOPTS",
        "trap 'echo TRAP' EXIT",
        "cat() { echo BENT; }\nprintf() { echo BENT; }\nexport -f cat printf",
        "alias cat=false\nexport PATH=",
        "export BASH_ENV=/nowhere ENV=/nowhere POSIXLY_CORRECT=1",
    ] {
        let Some((_sshd, lanes, user)) = server(startup) else { return };
        for _ in 0..2 {
            let kept = exec(&lanes, &user, sh("echo out; echo err >&2; exit 3")).await.unwrap();
            assert_eq!((kept.stdout.as_slice(), kept.stderr.as_slice(), kept.exit), (&b"out\n"[..], &b"err\n"[..], 3), "{startup}");
        }
        let own = Exec { limits: limits(Duration::from_secs(5), 1 << 20), stdin: input.clone().into(), ..sh("cat; echo err >&2; exit 4") };
        let own = exec(&lanes, &user, own).await.unwrap();
        assert!(own.stdout == input, "{startup}: {} bytes", own.stdout.len());
        assert_eq!((own.stderr.as_slice(), own.exit), (&b"err\n"[..], 4), "{startup}");
        assert!(stream(&lanes, &user, &CommandLine::new("cat"), &input).await.unwrap() == input, "{startup}");
        assert_eq!(output_of(&lanes, &user, &CommandLine::new("echo out; echo err >&2")).await.unwrap(), b"out\n", "{startup}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_start_up_files_print_is_never_output_after_they_took_standard_input_away() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = directory.path().join("startup");
    let Some((_sshd, lanes, user)) = server(&format!(". {}", file.display())) else { return };
    let line = || CommandLine::new("echo").arg("a b");
    for startup in ["exec 0</dev/null", "echo NOISE; exec 0</dev/null", "printf NOISE; printf NOISE >&2"] {
        std::fs::write(&file, format!("{startup}\n")).unwrap();
        let output = exec(&lanes, &user, command(line())).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.exit), (&b"a b\n"[..], &b""[..], 0), "{startup}");
        let error = exec(&lanes, &user, Exec { stdin: "input".into(), ..command(CommandLine::new("cat")) }).await.unwrap_err();
        assert!(matches!(&error, TransportError::Refused(why) if why.contains("standard input")), "{startup}: {error:?}");
        let takes_input = startup.contains("exec");
        for result in [stream(&lanes, &user, &line(), b"").await, output_of(&lanes, &user, &line()).await] {
            match result {
                Ok(content) if !takes_input => assert_eq!(content, b"a b\n", "{startup}"),
                Err(TransportError::Refused(why)) if takes_input => {
                    assert!(why.contains("standard input") || why.contains("NOISE"), "{why}")
                }
                other => panic!("{startup}: {other:?}"),
            }
        }
    }
}

async fn output_of(lanes: &Lanes, user: &str, line: &CommandLine) -> Result<Vec<u8>, TransportError> {
    let mut output = Vec::new();
    lanes.output_stream(&principal(user), line).await?.read_to_end(&mut output).await.unwrap();
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn start_up_files_that_end_the_shell_are_no_success_and_the_error_repeats_their_words() {
    for (startup, words) in [("exit 0", "call exit"), ("echo This account is closed.\nexit 0", "This account is closed.")] {
        let Some((sshd, lanes, user)) = server(startup) else { return };
        let touched = sshd.path("touched");
        let line = || CommandLine::new("touch").arg(touched.as_os_str().as_encoded_bytes());
        let own = Exec { limits: limits(Duration::from_secs(5), 1 << 20), ..command(line()) };
        let errors = [
            exec(&lanes, &user, command(line())).await.unwrap_err(),
            exec(&lanes, &user, own).await.unwrap_err(),
            stream(&lanes, &user, &line(), b"").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, TransportError::Refused(why) if why.contains(words)), "{startup}: {error:?}");
            assert_eq!(error.maybe_effected(), Some(false));
        }
        assert!(!touched.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_that_is_not_utf_8_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("banner");
    std::fs::write(&file, b"Z\xfcrich\n").unwrap();
    let Some(sshd) = Sshd::start(&format!("Banner {}", file.display())) else { return };
    let error = exec(&sshd.lanes_with(|_| {}), &sshd.user, command(CommandLine::new("true"))).await.unwrap_err();
    assert!(matches!(&error, TransportError::Connect(why) if why.contains("banner is not UTF-8") && why.contains("iconv")), "{error:?}");
    std::fs::write(&file, "Zürich\n").unwrap();
    assert_eq!(exec(&sshd.lanes_with(|_| {}), &sshd.user, command(CommandLine::new("true"))).await.unwrap().exit, 0);
}
