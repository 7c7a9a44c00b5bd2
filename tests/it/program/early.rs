//! Commands that end before they have taken all of their input.

use std::time::{Duration, Instant};

use super::{LoginNode, Program};

/// More than the window of a channel and the buffers on the way take.
const LARGE: usize = 24 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_early_is_heard_while_content_is_left_to_send() {
    for access in ["sftp", "exec"] {
        let node = LoginNode::start("ada").await;
        let change = |text: String| text.replace("    probing: ", &format!("    file_access: {access}\n    probing: "));
        let program = Program::spawn_with(&[node.site("good")], &["ada".to_owned()], change).await;
        program.is_up().await;
        let (token, folder) = (program.token("ada"), program.files.path().to_str().unwrap().to_owned());
        for (uri, words) in [
            (format!("ops/archive?format=tar.gz&path={folder}/new"), "could not be unpacked"),
            (format!("ops/upload?path={folder}/none/f"), "there is no directory"),
        ] {
            let begun = Instant::now();
            let request = program.http.put(format!("{}/filesystem/good/{uri}", program.url)).bearer_auth(&token);
            // It begins as the archive that it is said to be.
            let mut content = vec![b'x'; LARGE];
            content[..10].copy_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
            let answer = request.body(content).send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            assert!(matches!(status, 400 | 404) && text.contains(words), "{access}, {uri}: {status} {text}");
            assert!(begun.elapsed() < Duration::from_secs(25), "{access}, {uri}: {:?}", begun.elapsed());
        }
    }
}
