//! `/filesystem`.

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use goldcrest::domain::{Alternative, Checksum, Content, ContentUnit, DirectoryEntry, FileStat, FileType, RemotePath};
use goldcrest::filesystem::{FilesystemError, Placed};
use goldcrest::ssh::CommandError;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::doubles::{Reply, Step, regular_file, version};
use super::{Answer, Api};

fn missing(path: &str) -> FilesystemError {
    FilesystemError::NotFound(RemotePath::from_text(path).unwrap())
}

fn directory() -> Reply {
    Reply::Stat(FileStat { mode: 0o040_755, ..FileStat::default() })
}

fn link() -> Reply {
    Reply::Stat(FileStat { mode: 0o120_777, ..FileStat::default() })
}

async fn get(operation: &str, files: Vec<Step>) -> Answer {
    Api::new(vec![], files).get(&format!("/filesystem/daint/ops/{operation}")).await
}

async fn send(method: Method, operation: &str, body: Value, files: Vec<Step>) -> Answer {
    Api::new(vec![], files).call(method, &format!("/filesystem/daint/ops/{operation}"), Some(body)).await
}

#[tokio::test]
async fn a_directory_is_listed_and_no_name_is_lost() {
    let link = DirectoryEntry { file_type: FileType::Symlink, link_target: Some(b"/a\xFE".to_vec()), ..regular_file(b"link \xFF\n") };
    let call = r#"alice: list "/home/alice" ListOptions { hidden: false, numeric_ids: false, recursive: false, dereference: false }"#;
    assert_snapshot!(get("ls?path=/home/alice", vec![(call, Reply::Entries(vec![regular_file(b"a.txt"), link]))]).await);
}

#[tokio::test]
async fn all_options_of_a_listing_are_understood() {
    let call = r#"alice: list "/home/alice" ListOptions { hidden: true, numeric_ids: true, recursive: true, dereference: true }"#;
    let query = "ls?path=/home/alice&showHidden=true&numericUid=1&recursive=yes&dereference=on";
    assert_eq!(get(query, vec![(call, Reply::Entries(vec![]))]).await.json(), json!({"output": []}));
}

#[tokio::test]
async fn a_name_that_is_not_utf8_can_be_asked_for_in_both_forms() {
    let call = r#"alice: stat "/home/\u{efff}" false"#;
    for name in ["%FF", "%EE%BF%BF"] {
        assert_eq!(get(&format!("stat?path=/home/{name}"), vec![(call, Reply::Stat(FileStat::default()))]).await.status, 200);
    }
}

#[tokio::test]
async fn the_status_of_a_file_has_every_member_of_the_contract() {
    let stat = FileStat { mode: 33188, ino: 1, dev: 2, nlink: 3, uid: 4, gid: 5, size: 6, atime: 7, ctime: 8, mtime: 9 };
    assert_snapshot!(get("stat?path=/home/a&dereference=true", vec![(r#"alice: stat "/home/a" true"#, Reply::Stat(stat))]).await);
}

#[tokio::test]
async fn the_kind_of_a_file_is_told() {
    assert_snapshot!(get("file?path=/home/a", vec![(r#"alice: file_type "/home/a""#, Reply::Text("ASCII text"))]).await);
}

#[tokio::test]
async fn the_checksum_of_a_file_is_told() {
    let checksum = Checksum { algorithm: "SHA256", hex: "ab".repeat(32) };
    assert_snapshot!(get("checksum?path=/home/a", vec![(r#"alice: checksum "/home/a""#, Reply::Checksum(checksum))]).await);
}

fn content(unit: ContentUnit, start: i64, end: i64) -> Reply {
    Reply::Content(Content { data: b"text \xFF".to_vec(), unit, start, end })
}

#[tokio::test]
async fn the_start_of_a_file_is_shown() {
    let cases = [
        ("", r#"alice: head "/home/a" Part { unit: Lines, count: 10, skip: false }"#),
        ("&lines=3", r#"alice: head "/home/a" Part { unit: Lines, count: 3, skip: false }"#),
        ("&bytes=0", r#"alice: head "/home/a" Part { unit: Bytes, count: 0, skip: false }"#),
        ("&bytes=5&skipTrailing=true", r#"alice: head "/home/a" Part { unit: Bytes, count: 5, skip: true }"#),
    ];
    for (query, call) in cases {
        let answer = get(&format!("head?path=/home/a{query}"), vec![(call, content(ContentUnit::Lines, 0, 10))]).await;
        let expected = json!({"output": {"content": "text \u{EFFF}", "contentType": "lines", "startPosition": 0, "endPosition": 10}});
        assert_eq!((answer.status, answer.json()), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn the_end_of_a_file_is_shown() {
    let cases = [
        ("&bytes=5", r#"alice: tail "/home/a" Part { unit: Bytes, count: 5, skip: false }"#),
        ("&lines=2&skipHeading=1", r#"alice: tail "/home/a" Part { unit: Lines, count: 2, skip: true }"#),
    ];
    for (query, call) in cases {
        let answer = get(&format!("tail?path=/home/a{query}"), vec![(call, content(ContentUnit::Bytes, -5, -1))]).await;
        let expected = json!({"output": {"content": "text \u{EFFF}", "contentType": "bytes", "startPosition": -5, "endPosition": -1}});
        assert_eq!((answer.status, answer.json()), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn the_default_end_of_a_file_starts_where_the_contract_says_it_does() {
    let call = r#"alice: tail "/home/a" Part { unit: Lines, count: 10, skip: false }"#;
    let answer = get("tail?path=/home/a", vec![(call, content(ContentUnit::Lines, -10, -1))]).await;
    assert_eq!(answer.json()["output"]["startPosition"], 10);
}

#[tokio::test]
async fn content_is_viewed_from_an_offset_and_up_to_the_limit_of_the_system() {
    let cases = [("", r#"alice: view "/home/a" 0 1000"#), ("&offset=5&size=7", r#"alice: view "/home/a" 5 7"#)];
    for (query, call) in cases {
        let answer = get(&format!("view?path=/home/a{query}"), vec![(call, Reply::Bytes(b"x\xFFy".to_vec()))]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"output": "x\u{EFFF}y"})), "{query}");
    }
}

#[tokio::test]
async fn permissions_are_set() {
    let files = vec![(r#"alice: chmod "/home/a" 640"#, Reply::Done), (r#"alice: entry "/home/a""#, Reply::Entry(regular_file(b"/home/a")))];
    assert_snapshot!(send(Method::PUT, "chmod", json!({"path": "/home/a", "mode": "0640"}), files).await);
    let files =
        vec![(r#"alice: chmod "/home/a" u+x,go-w"#, Reply::Done), (r#"alice: entry "/home/a""#, Reply::Entry(regular_file(b"/home/a")))];
    let answer = send(Method::PUT, "chmod", json!({"path": "/home/a", "mode": "u+x,go-w"}), files).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
}

#[tokio::test]
async fn owners_are_set() {
    let files = || {
        vec![
            (r#"alice: chown "/home/a" None Some("g1")"#, Reply::Done),
            (r#"alice: entry "/home/a""#, Reply::Entry(regular_file(b"/home/a"))),
        ]
    };
    for member in ["path", "sourcePath", "source_path"] {
        let answer = send(Method::PUT, "chown", json!({member: "/home/a", "group": "g1", "owner": null}), files()).await;
        assert_eq!((answer.status, &answer.json()["output"]["group"]), (200, &json!("users")), "{member}");
    }
    // FirecREST's clients send null for what is to stay.
    let files = vec![
        (r#"alice: chown "/home/a" Some("bob") None"#, Reply::Done),
        (r#"alice: entry "/home/a""#, Reply::Entry(regular_file(b"/home/a"))),
    ];
    let answer = send(Method::PUT, "chown", json!({"path": "/home/a", "owner": "bob", "group": null}), files).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
}

#[tokio::test]
async fn a_directory_is_made() {
    let files = vec![
        (r#"alice: resolve "/home/x/..""#, Reply::Path("/home")),
        (r#"alice: stat "/home/d" false"#, Reply::FileFails(missing("/home/d"))),
        (r#"alice: mkdir "/home/d" true"#, Reply::Done),
        (r#"alice: entry "/home/d""#, Reply::Entry(regular_file(b"/home/d"))),
    ];
    assert_snapshot!(send(Method::POST, "mkdir", json!({"sourcePath": "/home/x/../d/", "parent": "true"}), files).await);
}

#[tokio::test]
async fn a_link_is_made() {
    let files = vec![
        (r#"alice: symlink "/home/a" "/scratch/l""#, Reply::Done),
        (r#"alice: entry "/scratch/l""#, Reply::Entry(regular_file(b"/scratch/l"))),
    ];
    assert_snapshot!(send(Method::POST, "symlink", json!({"sourcePath": "/home/a", "link_path": "/scratch/l"}), files).await);
}

#[tokio::test]
async fn a_file_is_removed() {
    let api = Api::new(vec![], vec![(r#"alice: remove "/home/a""#, Reply::Done)]);
    assert_snapshot!(api.call(Method::DELETE, "/filesystem/daint/ops/rm?path=/home/a", None).await);
}

#[tokio::test]
async fn a_configured_file_system_is_not_removed() {
    for (path, files) in [("/home", vec![]), ("/home/", vec![(r#"alice: stat "/home" false"#, directory())]), ("/scratch", vec![])] {
        let answer = Api::new(vec![], files).call(Method::DELETE, &format!("/filesystem/daint/ops/rm?path={path}"), None).await;
        assert_eq!(answer.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_follows_a_link_and_only_to_a_directory() {
    let kind = |path| (path, Reply::Text("text"));
    let stat = |reply| (r#"alice: stat "/home/l" false"#, reply);
    let behind = |path| (r#"alice: resolve "/home/l/.""#, Reply::Path(path));
    // A link in the middle of a path may lead anywhere too.
    for target in ["/home/real", "/srv/real"] {
        let call: &'static str = Box::leak(format!("alice: file_type {target:?}").into_boxed_str());
        for path in ["/home/l/", "/home/l/.", "/home//l//"] {
            let steps = vec![stat(link()), behind(target), kind(call)];
            assert_eq!(get(&format!("file?path={path}"), steps).await.status, 200, "{path}");
        }
    }
    let steps = vec![stat(directory()), kind(r#"alice: file_type "/home/l""#)];
    assert_eq!(get("file?path=/home/l/", steps).await.status, 200);
    let regular = Reply::Stat(FileStat { mode: 0o100_644, ..FileStat::default() });
    let answer = get("file?path=/home/l/", vec![stat(regular)]).await;
    assert!(answer.status == 400 && answer.everything().contains("Not a directory"), "{}", answer.everything());
    let steps = vec![stat(link()), (r#"alice: resolve "/home/l/.""#, Reply::FileFails(missing("/home/l/.")))];
    let answer = get("file?path=/home/l/", steps).await;
    assert!(answer.status == 404 && answer.everything().contains("'/home/l'"), "{}", answer.everything());
    assert_eq!(get("file?path=/home/l/", vec![stat(Reply::FileFails(missing("/home/l")))]).await.status, 404);
}

#[tokio::test]
async fn each_way_in_to_a_link_with_a_slash_at_its_end_goes_to_the_directory_behind_it() {
    const LIST: &str =
        r#"alice: list "/home/real" ListOptions { hidden: false, numeric_ids: false, recursive: false, dereference: false }"#;
    let request = |method: Method, uri: &str, fields: &[(&str, &str)], body: &str| {
        let request = Request::builder().method(method).uri(format!("/filesystem/daint/{uri}"));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.header(header::AUTHORIZATION, "Bearer token-of-alice").body(Body::from(body.to_owned())).unwrap()
    };
    let tus = [("tus-resumable", "1.0.0"), ("upload-length", "1"), ("upload-metadata", "filename Zg==")];
    let multipart = [("content-type", "multipart/form-data; boundary=b")];
    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
    let is_directory = || FilesystemError::WrongType { path: RemotePath::from_text("/home/real").unwrap(), reason: "Is a directory" };
    let packed = || Reply::Stream(stream::iter([Ok(Bytes::from("tar"))]).boxed(), version(3));
    let cases = [
        (request(Method::GET, "ops/ls?path=/home/l/", &[], ""), (LIST, Reply::Entries(vec![])), 200),
        // A directory is no file, and the link is not replaced by one.
        (
            request(Method::PUT, "ops/upload?path=/home/l/", &[], "x"),
            (r#"alice: upload "/home/real" "x" Some(100000) Anything"#, Reply::FileFails(is_directory())),
            400,
        ),
        (
            request(Method::POST, "ops/upload?path=/home/l/", &multipart, form),
            (r#"alice: upload "/home/real/f" "x" Some(1000) Anything"#, Reply::Placed(Placed::Created)),
            204,
        ),
        // The directory of the file comes before its name.
        (request(Method::POST, "uploads?path=/home/l/", &tus, ""), (r#"alice: begin_part "/home/l/f"..."#, Reply::Done), 201),
        (request(Method::GET, "ops/archive?path=/home/l/&format=tar", &[], ""), (r#"alice: pack "/home/real" Tar"#, packed()), 200),
        (
            request(Method::PUT, "ops/archive?path=/home/l/&format=tar", &[], "x"),
            (r#"alice: unpack "/home/real" Tar "x" Some(100000)"#, Reply::Placed(Placed::Replaced)),
            204,
        ),
    ];
    for (request, step, status) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        let follows = [(r#"alice: stat "/home/l" false"#, link()), (r#"alice: resolve "/home/l/.""#, Reply::Path("/home/real"))];
        let in_the_middle = what.contains("uploads");
        let steps = follows.into_iter().filter(|_| !in_the_middle).chain([step]).collect();
        let answer = Api::new(vec![], steps).send(request).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.everything());
    }
}

#[tokio::test]
async fn each_way_to_remove_or_move_an_entry_refuses_a_name_that_is_a_dot_or_two() {
    for path in ["/home/a/.", "/home/a/./", "/home/a/b/..", "/home/a/b/../", "/home/a/b/../.", "/home/a/..", "/.."] {
        for operation in ["ops/rm", "transfer/rm"] {
            let answer = Api::new(vec![], vec![]).call(Method::DELETE, &format!("/filesystem/daint/{operation}?path={path}"), None).await;
            assert!(answer.status == 400 && answer.everything().contains("name the entry itself"), "{path}: {}", answer.everything());
        }
        let body = json!({"sourcePath": path, "targetPath": "/home/m"});
        for (method, operation) in [(Method::PUT, "ops/mv"), (Method::POST, "transfer/mv")] {
            let answer = Api::new(vec![], vec![]).call(method, &format!("/filesystem/daint/{operation}"), Some(body.clone())).await;
            assert!(answer.status == 400 && answer.everything().contains("name the entry itself"), "{path}: {}", answer.everything());
        }
        let body = json!({"operations": [{"op": "rm", "path": path}]});
        let answer = Api::new(vec![], vec![]).call(Method::POST, "/filesystem/daint/ops/batch", Some(body)).await;
        assert!(answer.everything().contains("name the entry itself"), "{path}: {}", answer.everything());
    }
}

#[tokio::test]
async fn what_a_link_leads_to_is_not_removed_for_a_slash_at_its_end() {
    for operation in ["ops/rm", "transfer/rm"] {
        let api = Api::new(vec![], vec![(r#"alice: stat "/home/l" false"#, link())]);
        let answer = api.call(Method::DELETE, &format!("/filesystem/daint/{operation}?path=/home/l/"), None).await;
        assert!(answer.status == 400 && answer.everything().contains("Not a directory"), "{}", answer.everything());
    }
    let api = Api::new(vec![], vec![(r#"alice: stat "/home/l" false"#, link())]);
    let body = json!({"sourcePath": "/home/l/", "targetPath": "/home/m"});
    assert_eq!(api.call(Method::PUT, "/filesystem/daint/ops/mv", Some(body)).await.status, 400);
}

#[tokio::test]
async fn the_parent_of_what_a_link_leads_to_is_found_where_the_link_is_and_judged_by_the_policy() {
    let up = |path| (r#"alice: resolve "/home/jump/..""#, Reply::Path(path));
    let kind = |path| (path, Reply::Text("text"));
    let answer = get("file?path=/home/jump/../t.txt", vec![up("/home/far"), kind(r#"alice: file_type "/home/far/t.txt""#)]).await;
    assert_eq!(answer.status, 200, "{}", answer.everything());
    // A file system may itself be reached by a link: then the path is told by the name that the configuration has for it.
    let real = |scratch| [(r#"alice: resolve "/home""#, Reply::Path("/home")), (r#"alice: resolve "/scratch""#, Reply::Path(scratch))];
    let steps = [up("/mnt/lustre/u")].into_iter().chain(real("/mnt/lustre")).chain([kind(r#"alice: file_type "/scratch/u/t.txt""#)]);
    assert_eq!(get("file?path=/home/jump/../t.txt", steps.collect()).await.status, 200);
    let steps = [up("/etc")].into_iter().chain(real("/scratch"));
    let answer = get("file?path=/home/jump/../t.txt", steps.collect()).await;
    assert!(answer.status == 400 && answer.everything().contains("(/etc/t.txt)"), "{}", answer.everything());
    // Names alone decide where they lead out, and nothing is asked.
    assert_eq!(get("file?path=/home/jump/../../etc/t.txt", vec![]).await.status, 400);
    let body = json!({"sourcePath": "/home/a", "targetPath": "/home/jump/../a/b"});
    let answer = send(Method::POST, "cp", body, vec![up("/home")]).await;
    assert!(answer.status == 400 && answer.everything().contains("lies in"), "{}", answer.everything());
}

#[tokio::test]
async fn what_takes_too_long_by_its_size_is_not_to_be_tried_again_and_the_message_says_what_to_do() {
    let too_slow = || Reply::FileFails(FilesystemError::TooSlow { seconds: 600, instead: Alternative::CompressJob });
    let body = json!({"sourcePath": "/home/d", "targetPath": "/scratch/d.tgz"});
    for answer in [
        get("checksum?path=/home/d", vec![("...", too_slow())]).await,
        send(Method::POST, "compress", body.clone(), vec![("...", too_slow())]).await,
        send(Method::POST, "extract", body, vec![("...", too_slow())]).await,
    ] {
        assert_eq!((answer.status, &answer.json()["retryable"]), (408, &json!(false)), "{}", answer.everything());
        assert!(answer.everything().contains("transfer/compress") && answer.everything().contains("exit status:124"));
    }
}

#[tokio::test]
async fn what_is_too_large_for_one_form_is_told_the_other_forms() {
    let too_large = || vec![("...", Reply::FileFails(FilesystemError::TooLarge(5)))];
    for (query, way) in [
        ("download?path=/home/a", "transfer/download"),
        ("head?path=/home/a", "ops/download"),
        ("view?path=/home/a&size=1", "ops/download"),
    ] {
        let answer = get(query, too_large()).await;
        assert!(answer.status == 413 && answer.everything().contains(way), "{}", answer.everything());
    }
}

#[tokio::test]
async fn files_are_packed() {
    let cases = [
        (
            json!({"sourcePath": "/home/d", "targetPath": "/scratch/d.tgz"}),
            r#"alice: compress "/home/d" "/scratch/d.tgz" CompressOptions { compression: Gzip, dereference: false, match_pattern: None }"#,
        ),
        (
            json!({"source_path": "/home/d", "target_path": "/scratch/d.t", "match_pattern": ".*\\.txt", "dereference": true, "compression": "none"}),
            r#"alice: compress "/home/d" "/scratch/d.t" CompressOptions { compression: None, dereference: true, match_pattern: Some(".*\\.txt") }"#,
        ),
    ];
    for (body, call) in cases {
        let answer = send(Method::POST, "compress", body, vec![(call, Reply::Done)]).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
}

#[tokio::test]
async fn archives_are_unpacked() {
    let body = json!({"path": "/scratch/d.txz", "targetPath": "/home/d", "compression": "xz"});
    let answer = send(Method::POST, "extract", body, vec![(r#"alice: extract "/scratch/d.txz" "/home/d" Xz"#, Reply::Done)]).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[tokio::test]
async fn a_file_is_downloaded_as_it_is() {
    let pieces = [&b"\x00\xFF\r"[..], b"\nabc"].map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let content = stream::iter(pieces).boxed();
    let files = vec![(r#"alice: download "/home/a \"b\".bin" None Some(100000)"#, Reply::Stream(content, version(7)))];
    let answer = get("download?path=/home/a%20%22b%22.bin", files).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\x00\xFF\r\nabc"[..]));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-length"), Some("7"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a _b_.bin\"; filename*=UTF-8''a%20%22b%22.bin"));
}

/// A form as httpx and curl write it.
fn form(part: &str, file_name: &str, content: &str) -> Request<Body> {
    let body = format!(
        "--XyZ\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n{content}\r\n--XyZ--\r\n"
    );
    Request::post("/filesystem/daint/ops/upload?path=/home/alice")
        .header(header::AUTHORIZATION, "Bearer token-of-alice")
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XyZ")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_file_is_uploaded_into_the_directory_under_its_own_name() {
    let api = Api::new(
        vec![],
        vec![(r#"alice: upload "/home/alice/a b.txt" "line\r\n--X" Some(1000) Anything"#, Reply::Placed(Placed::Created))],
    );
    let answer = api.send(form("file", "a b.txt", "line\r\n--X")).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_with_413() {
    let answer = Api::new(vec![], vec![]).send(form("file", "a", &"x".repeat(1001))).await;
    let words = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(answer.status == 413 && words.starts_with("the file is larger than the limit of 1000 bytes: send it with PUT"), "{words}");
}

#[tokio::test]
async fn the_limit_on_documents_does_not_bind_uploads() {
    let call = r#"alice: upload "/home/alice/a" "xxxxxxxxxxxxxxxxxxxx" Some(1000) Anything"#;
    let api = Api::build(vec![], vec![(call, Reply::Placed(Placed::Created))], Default::default(), "", |config| config.max_body_size = 16);
    assert_eq!(api.send(form("file", "a", &"x".repeat(20))).await.status, 204);
}

#[tokio::test]
async fn a_form_without_a_proper_file_is_refused() {
    for request in [form("file", "../a", "x"), form("file", "..", "x"), form("file", "", "x")] {
        let answer = Api::new(vec![], vec![]).send(request).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("file")), "{}", answer.everything());
    }
    let mut cut = form("file", "a", "x");
    *cut.body_mut() = Body::from("--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhalf of it");
    let answer = Api::new(vec![], vec![]).send(cut).await;
    assert_eq!(answer.status, 400, "{}", answer.everything());
}

#[tokio::test]
async fn a_change_that_was_ended_by_force_may_have_happened_and_is_not_to_be_sent_again() {
    let ended = |exit| Reply::FileFails(FilesystemError::Command(CommandError::Exit { exit, stderr: "stopped".to_owned() }));
    for (exit, status, effect) in [(124, 408, json!(true)), (137, 500, json!(true)), (2, 500, Value::Null)] {
        let api = Api::new(vec![], vec![("alice: remove ...", ended(exit))]);
        let answer = api.call(Method::DELETE, "/filesystem/daint/ops/rm?path=/home/a", None).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["maybeEffected"], &json["retryable"]), (status, &effect, &json!(false)), "{json}");
    }
    let api = Api::new(vec![], vec![("alice: checksum ...", ended(124))]);
    let json = api.get("/filesystem/daint/ops/checksum?path=/home/a").await.json();
    assert_eq!((&json["maybeEffected"], &json["retryable"]), (&Value::Null, &json!(true)), "{json}");
}
