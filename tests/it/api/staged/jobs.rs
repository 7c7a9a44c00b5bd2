//! The jobs of transfers through an object store, with a shell.

use super::*;

/// A machine whose files go by way of the store.
fn machine(service: &Service, change: impl FnOnce(&mut Value)) -> Machine {
    let transfer = data_transfer(&service.url, change);
    let store = store(&transfer);
    Machine::set_up(|config| config.data_operation.data_transfer = Some(vec![transfer]), Some(store))
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect()
}

async fn send(method: Method, url: &Value, body: Vec<u8>) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.request(method, url.as_str().unwrap()).body(body).send().await.unwrap()
}

/// Does what a client does with the answer to an upload.
async fn upload(answer: &Answer, content: &[u8]) {
    let directives = answer.json()["transferDirectives"].clone();
    let size = usize::try_from(directives["maxPartSize"].as_u64().unwrap()).unwrap();
    let mut list = String::from("<CompleteMultipartUpload>");
    for (index, url) in directives["partsUploadUrls"].as_array().unwrap().iter().enumerate() {
        let part = &content[(index * size).min(content.len())..((index + 1) * size).min(content.len())];
        let sent = send(Method::PUT, url, part.to_vec()).await;
        let tag = sent.headers()["etag"].to_str().unwrap();
        list += &format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", index + 1);
    }
    list += "</CompleteMultipartUpload>";
    assert_eq!(send(Method::POST, &directives["completeUploadUrl"], list.into_bytes()).await.status(), 200);
}

#[tokio::test]
async fn files_of_any_name_and_size_go_up_by_parts_and_a_job() {
    let (service, held) = played().await;
    let machine = machine(&service, |_| {});
    for (name, size) in [("it's \"odd\"\n#1 $(id)", 2500), ("empty", 0), ("whole", 2000)] {
        std::fs::write(machine.at(name), "old").unwrap();
        let answer = ask(&machine.api, "upload", up(&machine.text(name), size)).await;
        assert_eq!(answer.status, 201, "{}", answer.everything());
        upload(&answer, &content(size)).await;
        let (state, output, error) = machine.end(&answer).await;
        assert_eq!((&*state, &*error), ("COMPLETED", ""), "{output}");
        assert!(output.contains("File was successfully downloaded"), "{output}");
        assert_eq!(std::fs::read(machine.at(name)).unwrap(), content(size));
        assert!(held.lock().unwrap().objects.is_empty(), "the object is left");
    }
    let hidden = std::fs::read_dir(machine.at(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains(".goldcrest-"));
    assert_eq!(hidden.count(), 0);
}

#[tokio::test]
async fn files_of_any_name_and_size_come_down_by_a_job() {
    for split in [false, true] {
        let (service, held) = played().await;
        let machine = machine(&service, |config| config["multipart"]["use_split"] = json!(split));
        for (name, size) in [("it's \"odd\" #1 $(id)", 4500), ("empty", 0), ("whole", 2000)] {
            std::fs::write(machine.at(name), content(size)).unwrap();
            let answer = ask(&machine.api, "download", down(&machine.text(name))).await;
            let (state, output, error) = machine.end(&answer).await;
            assert_eq!((&*state, &*error), ("COMPLETED", ""), "{output}");
            assert!(output.contains("Multipart file upload successfully completed"), "{output}");
            let back = send(Method::GET, &answer.json()["transferDirectives"]["downloadUrl"], Vec::new()).await;
            assert_eq!(back.bytes().await.unwrap(), content(size), "{name}");
            for text in [output, error] {
                assert!(!text.contains("X-Amz-Signature"), "{text}");
            }
        }
        assert_eq!(std::fs::read_dir(machine.at("tmp")).unwrap().count(), 0, "parts are left");
        assert!(held.lock().unwrap().parts.is_empty());
    }
}

/// Whether the store was told to forget the upload.
fn aborted(service: &Service) -> bool {
    service.seen().iter().any(|seen| seen.method == Method::DELETE && seen.uri.query().unwrap().contains("uploadId=2~up"))
}

#[tokio::test]
async fn an_upload_that_is_not_completed_in_its_time_fails_and_is_aborted() {
    let (service, _) = played().await;
    let machine = machine(&service, |config| config["ttl"] = json!(2));
    let answer = ask(&machine.api, "upload", up(&machine.text("file"), 1)).await;
    let (state, _, error) = machine.end(&answer).await;
    assert_eq!(state, "FAILED");
    assert!(error.contains("was not completed in its time; the store answered 404 last"), "{error}");
    assert!(aborted(&service) && !machine.at("file").exists());
}

#[tokio::test]
async fn a_file_of_another_size_than_was_said_is_not_put_in_place() {
    let (service, _) = played().await;
    let machine = machine(&service, |_| {});
    std::fs::write(machine.at("file"), "old").unwrap();
    let answer = ask(&machine.api, "upload", up(&machine.text("file"), 1500)).await;
    upload(&answer, &content(1400)).await;
    let (state, _, error) = machine.end(&answer).await;
    assert_eq!(state, "FAILED");
    assert!(error.contains("The store has 1400 bytes, and fileSize is 1500"), "{error}");
    assert_eq!(std::fs::read(machine.at("file")).unwrap(), b"old");
}

#[tokio::test]
async fn a_directory_and_a_place_that_is_not_there_are_refused_before_a_job_is_submitted() {
    let (service, _) = played().await;
    let machine = machine(&service, |_| {});
    std::fs::create_dir(machine.at("directory")).unwrap();
    for (name, status) in [("directory", 400), ("missing/file", 404)] {
        let answer = ask(&machine.api, "upload", up(&machine.text(name), 1)).await;
        assert_eq!(answer.status, status, "{}", answer.everything());
    }
    assert_eq!(machine.api.get("/compute/daint/jobs").await.json()["jobs"], serde_json::json!([]));
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_part_that_the_store_refuses_fails_the_job_and_the_upload_is_aborted() {
    for (marked, words) in [("partNumber=2", "Part 2 of 3 was not sent"), ("/file?", "did not put the parts together: InternalError")] {
        let held = Mutex::new(Held { bucket: true, ..Held::default() });
        let service = Service::start(move |request| {
            let uri = request.uri.to_string();
            let completes = request.method == Method::POST && uri.contains("uploadId");
            match marked.starts_with("part") {
                true if uri.contains(marked) => service::Reply::status(403, "<Error><Code>AccessDenied</Code></Error>"),
                // With 200, as S3 tells what it learns late.
                false if completes => service::Reply::status(200, "<Error><Code>InternalError</Code></Error>"),
                _ => answer(&held, request),
            }
        })
        .await;
        let machine = machine(&service, |_| {});
        std::fs::write(machine.at("file"), content(2500)).unwrap();
        let answer = ask(&machine.api, "download", down(&machine.text("file"))).await;
        let (state, output, error) = machine.end(&answer).await;
        assert_eq!(state, "FAILED", "{output}");
        assert!(error.contains(words) && error.contains("exit status:70"), "{error}");
        assert!(!output.contains("successfully") && aborted(&service), "{output}");
        assert!(!error.contains("X-Amz"), "{error}");
        assert_eq!(std::fs::read_dir(machine.at("tmp")).unwrap().count(), 0, "parts are left");
    }
}
