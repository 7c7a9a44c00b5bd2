//! What every request pays before anything is sent: reading paths, quoting arguments, showing bytes as text.
//!
//! Compare ratios between runs on one machine, not the numbers of two machines.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use goldcrest::domain::{RemotePath, bytes_to_text, text_to_bytes};
use goldcrest::ssh::CommandLine;

fn paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("path");
    let deep = format!("/scratch/{}", "a-folder/".repeat(40));
    for (name, path) in [("normal", "/home/user/project/run/output.txt"), ("dots", "/home//user/./a/../b/"), ("deep", &deep)] {
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(name, |b| b.iter(|| RemotePath::from_text(black_box(path))));
    }
    let roots = ["/home", "/scratch", "/project"].map(|root| RemotePath::from_text(root).expect("an absolute path"));
    let path = RemotePath::from_text("/project/p1/data").expect("an absolute path");
    group.bench_function("within", |b| b.iter(|| roots.iter().any(|root| black_box(&path).is_within(root))));
    group.finish();
}

fn command_lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("command_line");
    let quotes = "'".repeat(200);
    for (name, argument) in [("plain", "/home/user/project/run/output.txt"), ("quotes", &quotes)] {
        group.throughput(Throughput::Bytes(argument.len() as u64));
        group.bench_function(name, |b| b.iter(|| CommandLine::new("stat").flag("--").arg(black_box(argument))));
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("text");
    let ascii = b"output-0001.dat\n".repeat(256);
    let latin1 = b"r\xe9sum\xe9-0001.dat\n".repeat(256);
    for (name, bytes) in [("ascii", &ascii), ("latin1", &latin1)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("show/{name}"), |b| b.iter(|| bytes_to_text(black_box(bytes))));
        let shown = bytes_to_text(bytes);
        group.bench_function(format!("read/{name}"), |b| b.iter(|| text_to_bytes(black_box(&shown))));
    }
    group.finish();
}

criterion_group!(benches, paths, command_lines, text);
criterion_main!(benches);
