//! The scripts as they are, for what names and URLs there may be.

use jiff::Timestamp;
use uuid::Uuid;

use super::signer::Window;
use super::*;
use crate::domain::{JobDescription, JobScript, RemotePath};
use crate::rest::Client;
use crate::transfer::{Directives, Multipart, S3};

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);

fn store() -> ObjectStore {
    let config = serde_json::json!({
        "name": "store", "private_url": "http://10.0.0.1:8333", "public_url": "https://s3.example.org", "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "hunter2", "region": "eu", "ttl": 600, "tenant": "hpc",
    });
    ObjectStore::new(&serde_json::from_value::<S3>(config).unwrap(), Client::new().unwrap()).unwrap()
}

fn upload() -> MultipartUpload {
    let [bucket, key, id] = ["hpc:ada", "0000/it's here", "2~upload"].map(str::to_owned);
    MultipartUpload { bucket, key, id, window: Window { begins: Timestamp::UNIX_EPOCH, seconds: 600 } }
}

fn directives() -> Directives {
    Directives::new(&["#SBATCH --time=10".to_owned()], None).unwrap()
}

fn script(job: JobDescription) -> String {
    match job.script {
        JobScript::Inline(script) => script,
        JobScript::Path(path) => panic!("{path}"),
    }
}

fn sent(parts: PartLayout, multipart: &Multipart) -> String {
    let (source, directory) = (RemotePath::from_text("/home/ada/it's here").unwrap(), RemotePath::from_text("/scratch/ada").unwrap());
    let (directives, upload) = (directives(), upload());
    let place = JobSettings { directives: &directives, directory: &directory, id: ID };
    script(send(&store(), &upload, &source, parts, multipart, place).unwrap())
}

fn received(target: &[u8]) -> String {
    let (target, directory) = (RemotePath::from_bytes(target).unwrap(), RemotePath::from_text("/scratch/ada").unwrap());
    let (directives, upload) = (directives(), upload());
    script(receive(&store(), &upload, &target, 12, JobSettings { directives: &directives, directory: &directory, id: ID }).unwrap())
}

#[test]
fn the_script_of_an_upload() {
    insta::assert_snapshot!(received(b"/home/ada/it's here"));
}

#[test]
fn the_script_of_a_download() {
    insta::assert_snapshot!(sent(PartLayout::new(12, 5).unwrap(), &Multipart::default()));
}

#[test]
fn a_name_adds_no_line_and_no_directive() {
    let plain = received(b"/home/ada/a").lines().count();
    let script = received(b"/home/ada/a\r\n#SBATCH --uid=0\n'$(id)\xff");
    assert_eq!(script.lines().filter(|line| line.starts_with("#SBATCH")).count(), 1);
    // The two paths are each written in octal, and then freed of the dot that keeps their ends.
    assert_eq!(script.lines().count(), plain + 2);
}

#[test]
fn ten_thousand_parts_fit_in_what_a_scheduler_takes() {
    let script = sent(PartLayout::new(10_000, 1).unwrap(), &Multipart::default());
    assert!(script.len() < 1024 * 1024, "{} bytes", script.len());
}

#[test]
fn the_folder_for_parts_lies_where_the_job_runs_or_where_the_site_says() {
    for (configured, expected) in [("tmp", "/scratch/ada/tmp"), ("/local/it's tmp", "/local/it'\\''s tmp")] {
        let script = sent(PartLayout::new(1, 1).unwrap(), &Multipart { tmp_folder: configured.to_owned(), ..Multipart::default() });
        assert!(script.contains(&format!("workplace='{expected}'")), "{script}");
    }
}

#[test]
fn clients_get_the_public_address_and_jobs_the_private_one() {
    let (store, upload) = (store(), upload());
    let parts = PartLayout::new(12, 5).unwrap();
    let public = store.part_urls(Side::Public, &upload, parts).unwrap();
    assert_eq!(public.len(), 3);
    let others = [store.complete_url(Side::Public, &upload).unwrap(), store.download_url(Side::Public, &upload).unwrap()];
    for url in public.iter().chain(&others) {
        assert!(url.expose().starts_with("https://s3.example.org/hpc%3Aada/0000/it%27s%20here?"), "{}", url.expose());
    }
    for script in [sent(parts, &Multipart::default()), received(b"/home/ada/a")] {
        assert!(script.contains("http://10.0.0.1:8333/") && !script.contains("s3.example.org") && !script.contains("hunter2"), "{script}");
    }
}
