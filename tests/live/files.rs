//! File operations, over SFTP and over commands alike, compared with what lies on the disk.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use goldcrest::domain::bytes_to_text;
use serde_json::{Value, json};

use crate::environment::{Live, wait_for};

pub async fn a_file_is_written_read_and_removed_in_every_way(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let file = format!("{folder}/lines.txt");
        let ops = format!("/filesystem/{system}/ops");
        let content: String = (1..=20).map(|number| format!("line {number}\n")).collect();
        api.upload(system, &folder, "lines.txt", content.as_bytes()).await.expect(204);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content, "{system}");

        let listed = api.file(system, "ls", &folder).await.expect(200).json();
        assert_eq!(listed["output"][0]["name"], "lines.txt", "{system}: {listed}");
        assert_eq!(listed["output"][0]["type"], "-", "{system}: {listed}");
        assert_eq!(listed["output"][0]["user"], "fireuser", "{system}: {listed}");
        assert_eq!(listed["output"][0]["size"], content.len().to_string(), "{system}: {listed}");

        let on_disk = std::fs::metadata(&file).unwrap();
        let stat = api.file(system, "stat", &file).await.expect(200).json()["output"].clone();
        assert_eq!(stat["size"], content.len(), "{system}: {stat}");
        assert_eq!(stat["mode"], on_disk.mode(), "{system}: {stat}");
        assert_eq!(stat["uid"], on_disk.uid(), "{system}: {stat}");
        assert_eq!(stat["mtime"], on_disk.mtime(), "{system}: {stat}");

        let (first_ten, last_ten) = content.split_at(content.find("line 11").unwrap());
        assert_eq!(text_of(&api.file(system, "head", &file).await.expect(200).json()), first_ten, "{system}");
        assert_eq!(text_of(&api.file(system, "tail", &file).await.expect(200).json()), last_ten, "{system}");
        let head = api.get(&format!("{ops}/head"), &[("path", &file), ("bytes", "6")]).await.expect(200).json();
        assert_eq!(text_of(&head), "line 1", "{system}");
        let tail = api.get(&format!("{ops}/tail"), &[("path", &file), ("lines", "2"), ("skipHeading", "true")]).await.expect(200).json();
        assert_eq!(text_of(&tail), &content["line 1\nline 2\n".len()..], "{system}");
        assert_eq!(api.file(system, "view", &file).await.expect(200).json()["output"], content, "{system}");
        let part = api.get(&format!("{ops}/view"), &[("path", &file), ("offset", "5"), ("size", "3")]).await.expect(200).json();
        assert_eq!(part["output"], content[5..8], "{system}");
        assert_eq!(api.file(system, "download", &file).await.expect(200).body, content.as_bytes(), "{system}");
        let file_type = api.file(system, "file", &file).await.expect(200).json();
        assert!(file_type["output"].as_str().unwrap().contains("text"), "{system}: {file_type}");
        let checksum = api.file(system, "checksum", &file).await.expect(200).json()["output"]["checksum"].clone();
        assert_eq!(checksum, sha256(&file).await, "{system}");

        api.put(&format!("{ops}/chmod"), &json!({"path": file, "mode": "640"})).await.expect(200);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640, "{system}");
        api.put(&format!("{ops}/chown"), &json!({"path": file, "owner": "fireuser", "group": "fireuser"})).await.expect(200);
        let link = format!("{folder}/link");
        api.post(&format!("{ops}/symlink"), &json!({"sourcePath": file, "linkPath": link})).await.expect(201);
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(&file), "{system}");
        let listed = api.file(system, "ls", &folder).await.expect(200).json();
        let entry = listed["output"].as_array().unwrap().iter().find(|entry| entry["name"] == "link").unwrap().clone();
        assert_eq!((&entry["type"], &entry["linkTarget"]), (&json!("l"), &json!(file)), "{system}: {entry}");

        let missing = api.file(system, "stat", &format!("{folder}/nothing")).await.expect(404);
        assert!(missing.message().contains("No such file or directory"), "{system}: {}", missing.message());
        api.remove(system, &link).await;
        assert!(Path::new(&file).exists(), "{system}: removing the link removed what it points to");
        api.remove(system, &folder).await;
        assert!(!Path::new(&folder).exists(), "{system}");
    }
}

pub async fn names_that_are_not_utf8_or_hostile_come_back_as_they_were(live: &Live) {
    let api = live.api("fireuser").await;
    let names: [&[u8]; 12] = [
        b"it's",
        b"two  blanks ",
        b"$(touch pwned)",
        b"`touch pwned`",
        b";touch pwned",
        b"-rf",
        b"*",
        b"line\nbreak",
        b"tab\tand \\ and \"",
        b"latin1-\xe9",
        b"\xff\xfe\x80",
        "Grüße-\u{1f426}".as_bytes(),
    ];
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let on_disk = |name: &[u8]| Path::new(&folder).join(OsStr::from_bytes(name));
        for name in names {
            let path = format!("{folder}/{}", bytes_to_text(name));
            let shown = format!("{system} {}", name.escape_ascii());
            api.post(&format!("/filesystem/{system}/ops/mkdir"), &json!({"sourcePath": path})).await.expect(201);
            assert!(on_disk(name).is_dir(), "{shown} is not on the disk");
            api.upload(system, &path, "content", name).await.expect(204);
            assert_eq!(std::fs::read(on_disk(name).join("content")).unwrap(), name, "{shown}");
            assert_eq!(api.file(system, "download", &format!("{path}/content")).await.expect(200).body, name, "{shown}");
            api.file(system, "stat", &path).await.expect(200);
        }
        let listed = api.file(system, "ls", &folder).await.expect(200).json();
        let mut listed: Vec<String> =
            listed["output"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
        let mut expected: Vec<String> = names.iter().map(|name| bytes_to_text(name)).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected, "{system}");
        for (index, name) in names.iter().enumerate() {
            api.remove(system, &format!("{folder}/{}", bytes_to_text(name))).await;
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), names.len() - 1 - index, "{system} after {}", name.escape_ascii());
        }
        assert!(!Path::new("/home/fireuser/pwned").exists(), "{system}: a name was run");
        api.remove(system, &folder).await;
    }
}

pub async fn contents_of_megabytes_come_back_byte_for_byte(live: &Live) {
    let api = live.api("fireuser").await;
    // Every byte value in every position of a word, and no length that is a round number of blocks.
    let content: Vec<u8> = (0..4_500_001_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        api.upload(system, &folder, "large", &content).await.expect(204);
        let file = format!("{folder}/large");
        assert!(std::fs::read(&file).unwrap() == content, "{system}: the upload changed the content");
        let answer = api.file(system, "download", &file).await.expect(200);
        assert!(answer.body == content, "{system}: the download changed the content");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{system}");
        api.remove(system, &folder).await;
    }
}

pub async fn uploads_over_the_cap_are_refused(live: &Live) {
    let api = live.api("fireuser").await;
    let content = vec![b'x'; 5 * 1024 * 1024 + 1];
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        api.upload(system, &folder, "large", &content).await.expect(413);
        wait_for("nothing is left of a refused upload", Duration::from_secs(5), || async {
            (std::fs::read_dir(&folder).unwrap().count() == 0).then_some(())
        })
        .await;
        std::fs::write(format!("{folder}/large"), &content).unwrap();
        let answer = api.file(system, "download", &format!("{folder}/large")).await.expect(200);
        assert!(answer.body == content, "downloads have no such cap");
        api.remove(system, &folder).await;
    }
}

pub async fn a_path_outside_the_file_systems_is_refused(live: &Live) {
    let api = live.api("fireuser").await;
    for path in ["/etc/passwd", "/home/../etc/passwd", "/homes", "relative"] {
        let answer = api.file("slurm", "view", path).await.expect(400);
        assert!(answer.message().contains("provided path"), "{path}: {}", answer.message());
    }
}

pub async fn the_clusters_own_permissions_decide(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let answer = api.file(system, "ls", "/home/otheruser").await.expect(403);
        assert!(answer.message().contains("ermission denied"), "{system}: {}", answer.message());
    }
}

pub async fn archives_are_packed_and_unpacked(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let ops = format!("/filesystem/{system}/ops");
        let source = format!("{folder}/it's here");
        api.post(&format!("{ops}/mkdir"), &json!({"sourcePath": source})).await.expect(201);
        api.upload(system, &source, "a.txt", b"alpha").await.expect(204);
        api.upload(system, &source, "b.dat", b"beta").await.expect(204);
        for compression in ["none", "gzip", "bzip2", "xz"] {
            let archive = format!("{folder}/{compression}.tar");
            let target = format!("{folder}/{compression}");
            let pack = json!({"sourcePath": source, "targetPath": archive, "compression": compression, "matchPattern": ".*txt"});
            api.post(&format!("{ops}/compress"), &pack).await.expect(204);
            api.post(&format!("{ops}/mkdir"), &json!({"sourcePath": target})).await.expect(201);
            let unpack = json!({"sourcePath": archive, "targetPath": target, "compression": compression});
            api.post(&format!("{ops}/extract"), &unpack).await.expect(204);
            let found =
                api.get(&format!("{ops}/ls"), &[("path", &target), ("recursive", "true")]).await.expect(200).json()["output"].to_string();
            assert!(found.contains("a.txt") && !found.contains("b.dat"), "{system} {compression}: {found}");
        }
        api.remove(system, &folder).await;
    }
}

fn text_of(answer: &Value) -> &str {
    answer["output"]["content"].as_str().unwrap_or_else(|| panic!("no content: {answer}"))
}

async fn sha256(file: &str) -> String {
    let output = tokio::process::Command::new("sha256sum").arg(file).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}
