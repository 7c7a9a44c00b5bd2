//! Directories as archives that are never stored.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use tokio::process::Command;

use crate::client::{Answer, Api};
use crate::environment::{Live, wait_for};
use crate::processes;
use crate::streams::output;

/// What makes the tree that is packed. The modes are those that the usual umask leaves as they are.
const TREE: &str = r#"
    mkdir -p "$1/a/deep/er" "$1/empty" "$1/secret"; cd "$1"
    head -c 3000001 /dev/urandom > a/data; printf '#!/bin/sh\n' > a/run; : > 'a/it'\''s  $(here)'; printf x > "a/$(printf '\351\n')"
    printf s > secret/s; printf d > a/deep/er/d; ln a/data a/deep/same
    ln -s deep/er/d a/inside; ln -s /etc/hostname a/outside; ln -s nowhere a/dangling; ln -s a to-a
    chmod 755 a/run; chmod 600 a/data; chmod 440 a/deep/er/d; chmod 700 secret; chmod 750 a/deep
    find . -depth -exec touch -h -d @1700000000 {} +
    chown -hR fireuser:fireuser ."#;

/// What is to be equal: names, kinds, modes, links and their counts, owners, times and contents.
const MANIFEST: &str = r#"
    cd "$1" && find . -mindepth 1 -printf '%P %y %m %n %u %T@ %l\0' | sort -z | tr '\0\n' '\n?'
    find . -type f -print0 | sort -z | xargs -0 sha256sum"#;

pub async fn a_directory_comes_back_with_its_modes_and_links(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let source = format!("{folder}/source");
        shell(TREE, &source).await;
        for format in ["tar", "tar.gz", "tar.zst"] {
            let packed = pack(&api, system, &source, format).await.expect(200);
            let target = format!("{folder}/from {format}");
            unpack(&api, system, &target, format, packed.body.clone()).await.expect(201);
            let (expected, found) = (shell(MANIFEST, &source).await, shell(MANIFEST, &format!("{target}/source")).await);
            assert!(expected == found, "{system} {format}:\n{expected}\n{found}");
            // Once more over what is there.
            unpack(&api, system, &target, format, packed.body).await.expect(204);
            assert!(expected == shell(MANIFEST, &format!("{target}/source")).await, "{system} {format}: the second time");
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "{system}: something stayed behind");
        api.remove(system, &folder).await;
    }
}

pub async fn a_look_at_an_archive_starts_no_tar(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let source = format!("{folder}/looked-at-{}", uuid::Uuid::new_v4().simple());
        // One that takes a while to pack.
        shell(r#"mkdir "$1"; truncate --size 20G "$1/hole"; chown -R fireuser "$1""#, &source).await;
        let name = source.rsplit('/').next().unwrap();
        let request = api.request(Method::HEAD, &format!("/filesystem/{system}/ops/archive"));
        let answer = api.send(request.query(&[("path", source.as_str()), ("format", "tar.gz")])).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/gzip", "{system}");
        assert_eq!(answer.header("content-length"), "", "{system}: nobody knows it");
        assert!(answer.header("content-disposition").contains(&format!("{name}.tar.gz")), "{system}");
        assert!(processes::running(&format!("--add-file={name}")).is_empty(), "{system}: a tar runs");
        let request = api.request(Method::HEAD, &format!("/filesystem/{system}/ops/archive"));
        api.send(request.query(&[("path", format!("{source}/none"))])).await.expect(404);
        api.remove(system, &folder).await;
    }
}

pub async fn an_archive_reaches_nothing_beside_its_directory(live: &Live) {
    let api = live.api("fireuser").await;
    for system in Live::FILE_SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        shell(r#"mkdir -p "$1/safe/in"; printf kept > "$1/kept"; chown -R fireuser "$1""#, &folder).await;
        // Written from the directory or from a new one in it, a member would replace the file that is to be kept.
        let named = |to: &str| {
            format!(
                r#"d=$(mktemp -d); cd "$d"; printf evil > kept; ln kept two; tar -cf - -P --transform "s,^kept,{to},rh" kept two; rm -r "$d""#
            )
        };
        let linked = |to: &str| {
            format!(
                r#"d=$(mktemp -d); cd "$d"; ln -s "{to}" out; tar -cf a.tar out; rm out; mkdir out; printf evil > out/kept
                tar -rf a.tar out/kept; cat a.tar; rm -r "$d""#
            )
        };
        let hostile = [
            ("climbing by two", named("../../kept"), true),
            ("climbing by three", named("../../../kept"), true),
            ("absolute", named("$1/kept"), false),
            ("through a link", linked("$1"), false),
            ("through a link by two", linked("../.."), false),
            ("through a link by three", linked("../../.."), false),
        ];
        for (name, script, refused) in hostile {
            let archive = bytes_of(&script, &folder).await;
            assert!(archive.len() >= 1024, "{name}: no archive");
            for target in ["safe/in/new", "safe/in"] {
                let answer = unpack(&api, system, &format!("{folder}/{target}"), "tar", archive.clone()).await;
                let expected: &[u16] = if refused { &[400] } else { &[201, 204, 400] };
                assert!(expected.contains(&answer.status), "{system} {name} {target}: {}", answer.status);
                assert_eq!(std::fs::read_to_string(format!("{folder}/kept")).unwrap(), "kept", "{system} {name} {target}");
                let here = std::fs::read_dir(&folder).unwrap().count();
                assert_eq!(here, 2, "{system} {name} {target}: something is beside the directory");
            }
            assert!(Path::new(&format!("{folder}/safe")).is_dir());
            shell(r#"rm -rf "$1/safe"; mkdir -p "$1/safe/in"; chown -R fireuser "$1/safe""#, &folder).await;
        }
        // An archive that ends too early is no directory.
        let cut = bytes_of(r#"head -c 100000 /dev/urandom > "$1/cut"; tar -cf - -C "$1" cut | head -c 50000; rm "$1/cut""#, &folder).await;
        unpack(&api, system, &format!("{folder}/new"), "tar", cut).await.expect(400);
        wait_for("nothing is left of an archive that was cut", Duration::from_secs(20), || async {
            (std::fs::read_dir(&folder).unwrap().count() == 2).then_some(())
        })
        .await;
        api.remove(system, &folder).await;
    }
}

async fn pack(api: &Api, system: &str, path: &str, format: &str) -> Answer {
    api.get(&format!("/filesystem/{system}/ops/archive"), &[("path", path), ("format", format)]).await
}

async fn unpack(api: &Api, system: &str, path: &str, format: &str, archive: Bytes) -> Answer {
    let request = api.request(Method::PUT, &format!("/filesystem/{system}/ops/archive"));
    api.send(request.query(&[("path", path), ("format", format)]).body(archive)).await
}

async fn shell(script: &str, argument: &str) -> String {
    output(Command::new("sh").args(["-ec", script, "sh", argument])).await
}

async fn bytes_of(script: &str, argument: &str) -> Bytes {
    let output = Command::new("sh").args(["-c", script, "sh", argument]).kill_on_drop(true).output().await.unwrap();
    output.stdout.into()
}
