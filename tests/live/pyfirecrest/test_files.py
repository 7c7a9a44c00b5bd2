"""Every file call of pyfirecrest."""

import hashlib
import io
import os

import pytest
from firecrest.FirecrestException import TransferJobFailedException, UnexpectedStatusException

pytestmark = pytest.mark.usefixtures("files")


def names(entries):
    return sorted(entry["name"] for entry in entries)


def test_a_file_goes_up_and_comes_back(client, system, folder, tmp_path):
    local = tmp_path / "random"
    local.write_bytes(os.urandom(200_001))
    assert client.upload(system, str(local), folder, "random") is None
    back = tmp_path / "back"
    assert client.download(system, f"{folder}/random", str(back)) is None
    assert back.read_bytes() == local.read_bytes()


# The asynchronous client takes no streams.
@pytest.mark.parametrize("client", ["sync"], indirect=True)
def test_a_stream_goes_up(client, system, folder):
    content = b"from memory\n"
    client.upload(system, io.BytesIO(content), folder, "stream", file_size=len(content))
    assert client.view(system, f"{folder}/stream") == content.decode()


def test_an_empty_file_goes_up_and_comes_back(client, system, folder, tmp_path):
    local = tmp_path / "empty"
    local.touch()
    client.upload(system, str(local), folder, "empty")
    client.download(system, f"{folder}/empty", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b""


def test_a_folder_is_listed_with_every_option(client, system, folder, lines):
    client.mkdir(system, f"{folder}/sub/deep", create_parents=True)
    client.symlink(system, lines[0], f"{folder}/.hidden")
    assert names(client.list_files(system, folder)) == ["lines.txt", "sub"]
    assert names(client.list_files(system, folder, show_hidden=True)) == [".hidden", "lines.txt", "sub"]
    recursive = " ".join(names(client.list_files(system, folder, recursive=True)))
    assert "deep" in recursive
    numeric = client.list_files(system, folder, numeric_uid=True)
    assert all(entry["user"].isdigit() and entry["group"].isdigit() for entry in numeric)
    followed = {entry["name"]: entry for entry in client.list_files(system, folder, show_hidden=True, dereference=True)}
    assert followed[".hidden"]["type"] == "-"
    link = {entry["name"]: entry for entry in client.list_files(system, folder, show_hidden=True)}[".hidden"]
    assert (link["type"], link["linkTarget"]) == ("l", lines[0])
    assert len(link["permissions"]) in (9, 10)


def test_head_and_tail_give_the_part_asked_for(client, system, lines):
    path, content = lines
    every = content.splitlines(keepends=True)
    assert client.head(system, path)["content"] == "".join(every[:10])
    assert client.tail(system, path)["content"] == "".join(every[-10:])
    assert client.head(system, path, num_lines=3)["content"] == "".join(every[:3])
    assert client.tail(system, path, num_lines=3)["content"] == "".join(every[-3:])
    assert client.head(system, path, num_bytes=9)["content"] == content[:9]
    assert client.tail(system, path, num_bytes=9)["content"] == content[-9:]
    assert client.head(system, path, num_lines=3, exclude_trailing=True)["content"] == "".join(every[:-3])
    assert client.tail(system, path, num_lines=3, exclude_beginning=True)["content"] == "".join(every[3:])
    assert client.head(system, path, num_lines=3)["contentType"] == "lines"


def test_a_file_is_described(client, system, lines):
    path, content = lines
    assert client.view(system, path) == content
    stat = client.stat(system, path)
    assert stat["size"] == len(content)
    assert stat["nlink"] == 1
    checksum = client.checksum(system, path)
    assert checksum["checksum"] == hashlib.sha256(content.encode()).hexdigest()
    assert checksum["algorithm"] == "SHA256"
    assert "text" in client.file_type(system, path)


def test_a_link_is_made_and_followed(client, system, folder, lines):
    link = f"{folder}/link"
    client.symlink(system, lines[0], link)
    assert client.stat(system, link, dereference=True)["size"] == len(lines[1])
    assert client.stat(system, link)["size"] == len(lines[0])


def test_modes_and_owners_are_changed(client, system, lines):
    path, _ = lines
    client.chmod(system, path, "600")
    assert client.stat(system, path)["mode"] & 0o777 == 0o600
    user = client.userinfo(system)
    owner = user["user"]["name"]
    group = user["groups"][0]["name"]
    assert client.chown(system, path, owner, group)["user"] == owner


def test_an_archive_is_made_and_unpacked(client, system, folder, lines):
    for compression in ("gzip", "bzip2", "xz", "none"):
        archive = f"{folder}/{compression}.archive"
        target = f"{folder}/{compression}"
        client.compress(system, lines[0], archive, compression=compression)
        client.mkdir(system, target)
        client.extract(system, archive, target, compression=compression)
        found = names(client.list_files(system, target, recursive=True))
        assert any(name.endswith("lines.txt") for name in found), found


def test_an_archive_holds_what_the_pattern_names_and_what_links_lead_to(client, system, folder, lines):
    client.mkdir(system, f"{folder}/from")
    client.symlink(system, lines[0], f"{folder}/from/linked.txt")
    client.mkdir(system, f"{folder}/from/other")
    client.compress(system, f"{folder}/from", f"{folder}/archive", dereference=True, match_pattern=".*\\.txt")
    client.mkdir(system, f"{folder}/to")
    client.extract(system, f"{folder}/archive", f"{folder}/to")
    found = {entry["name"]: entry for entry in client.list_files(system, f"{folder}/to", recursive=True)}
    unpacked = next(name for name in found if name.endswith("linked.txt"))
    assert found[unpacked]["type"] == "-" and not any("other" in name for name in found)


def test_a_folder_is_removed_with_its_content(client, system, folder):
    client.mkdir(system, f"{folder}/a/b", create_parents=True)
    client.rm(system, f"{folder}/a")
    assert client.list_files(system, folder) == []


def test_a_missing_file_is_reported_as_the_client_expects(client, system, folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.download(system, f"{folder}/missing", str(tmp_path / "back"))
    with pytest.raises(UnexpectedStatusException) as caught:
        client.stat(system, f"{folder}/missing")
    answer = caught.value.responses[-1]
    assert answer.status_code == 404
    assert "No such file or directory" in answer.json()["message"]


def test_what_the_cluster_refuses_is_reported_as_the_client_expects(client, system, folder, lines):
    refused = [(lambda: client.list_files(system, f"{folder}/missing"), 404), (lambda: client.mkdir(system, folder), 400)]
    if client.userinfo(system)["user"]["name"] != "root":
        refused.append((lambda: client.chown(system, lines[0], "root", "root"), 403))
    for call, status in refused:
        with pytest.raises(UnexpectedStatusException) as caught:
            call()
        answer = caught.value.responses[-1]
        assert answer.status_code == status
        assert answer.json()["errorType"] and answer.json()["message"]
    with pytest.raises(ValueError):
        client.head(system, lines[0], num_bytes=1, num_lines=1)


def test_names_with_blanks_and_quotes_are_kept(client, system, folder):
    name = "it's a \"name\" with $signs & umlauts: ä"
    client.mkdir(system, f"{folder}/{name}")
    assert names(client.list_files(system, folder)) == [name]


def test_files_are_moved_and_copied_by_jobs(client, system, folder, lines, supported):
    supported(client.cp, system, lines[0], f"{folder}/copy", timeout=60)
    assert client.view(system, f"{folder}/copy") == lines[1]
    client.mv(system, f"{folder}/copy", f"{folder}/it's moved", timeout=60)
    assert client.view(system, f"{folder}/it's moved") == lines[1]
    assert "copy" not in names(client.list_files(system, folder))
    client.symlink(system, lines[0], f"{folder}/link")
    client.cp(system, f"{folder}/link", f"{folder}/kept", timeout=60)
    client.cp(system, f"{folder}/link", f"{folder}/followed", dereference=True, timeout=60)
    types = {entry["name"]: entry["type"] for entry in client.list_files(system, folder)}
    assert (types["kept"], types["followed"]) == ("l", "-")


def run_as_job(client, system, operation, **document):
    """An operation that the client hands to a job itself only when doing it directly takes too long."""
    endpoint = f"/filesystem/{system}/transfer/{operation}"
    if operation == "rm":
        job = client._check_response(client._delete_request(endpoint=endpoint, params=document), 200)
    else:
        job = client._check_response(client._post_request(endpoint=endpoint, json_data=document), 201)
    client._wait_for_transfer_job(job, timeout=60)
    return job


def test_archives_are_made_unpacked_and_removed_by_jobs(client, system, folder, lines, supported):
    for compression in ("gzip", "bzip2", "xz", "none"):
        archive = f"{folder}/{compression}.archive"
        target = f"{folder}/{compression}"
        supported(run_as_job, client, system, "compress", source_path=lines[0], target_path=archive, compression=compression)
        client.mkdir(system, target)
        run_as_job(client, system, "extract", source_path=archive, target_path=target, compression=compression)
        assert client.view(system, f"{target}/lines.txt") == lines[1]
    run_as_job(client, system, "compress", source_path=folder, target_path=f"{folder}/some", match_pattern=".*\\.txt", dereference=False)
    client.mkdir(system, f"{folder}/out")
    run_as_job(client, system, "extract", source_path=f"{folder}/some", target_path=f"{folder}/out")
    unpacked = names(client.list_files(system, f"{folder}/out", recursive=True))
    assert any(name.endswith("lines.txt") for name in unpacked), unpacked
    assert not any(name.endswith("archive") for name in unpacked), unpacked
    run_as_job(client, system, "rm", path=f"{folder}/out")
    assert "out" not in names(client.list_files(system, folder))


def test_a_job_that_fails_is_noticed_and_says_why(client, system, folder, supported):
    with pytest.raises(TransferJobFailedException):
        supported(client.mv, system, f"{folder}/missing", f"{folder}/moved", timeout=60)
    job = client.mv(system, f"{folder}/missing", f"{folder}/moved", blocking=False)["transferJob"]
    ended = client.wait_for_job(system, job["jobId"], timeout=60)
    assert ended[0]["status"]["state"] == "FAILED"
    assert "No such file or directory" in client.view(system, job["logs"]["errorLog"])


# Two whole parts of the store that the live environment has, and some of a third.
LARGE = 12 * 1024 * 1024 + 17


def test_a_large_file_goes_up_and_comes_back_by_each_transfer(client, system, folder, tmp_path, methods):
    local = tmp_path / "large"
    local.write_bytes(os.urandom(LARGE))
    for method in methods:
        path = f"{folder}/it's {method}"
        up = client.upload(system, str(local), folder, f"it's {method}", transfer_method=method)
        directives = up.transfer_data["transferDirectives"]
        assert directives["transferMethod"] == method
        assert len(directives["partsUploadUrls"]) > 1 if method == "s3" else directives["coordinates"]
        assert client.checksum(system, path)["checksum"] == hashlib.sha256(local.read_bytes()).hexdigest()
        back = tmp_path / f"back-{method}"
        client.download(system, path, str(back), transfer_method=method)
        assert back.read_bytes() == local.read_bytes()


def test_a_large_file_goes_up_and_comes_back_as_clients_of_older_releases_do_it(client, system, folder, tmp_path, methods, supported):
    local = tmp_path / "large"
    local.write_bytes(os.urandom(2 * 1024 * 1024))
    client.set_api_version("2.3.0")
    try:
        supported(client.upload, system, str(local), folder, "large")
        back = tmp_path / "back"
        client.download(system, f"{folder}/large", str(back))
    finally:
        client.set_api_version("2.6.0")
    assert back.read_bytes() == local.read_bytes()


# The asynchronous client takes no streams.
@pytest.mark.parametrize("client", ["sync"], indirect=True)
def test_a_large_stream_goes_up_by_a_transfer(client, system, folder, methods, supported):
    if "s3" not in methods:
        pytest.skip("pyfirecrest sends streams by s3 only")
    content = os.urandom(2 * 1024 * 1024)
    supported(client.upload, system, io.BytesIO(content), folder, "stream", file_size=len(content))
    assert client.checksum(system, f"{folder}/stream")["checksum"] == hashlib.sha256(content).hexdigest()


def test_a_method_that_the_system_has_not_is_refused(client, system, folder, tmp_path, methods):
    absent = [method for method in ("s3", "streamer") if method not in methods]
    if not absent:
        pytest.skip("the system has every method that pyfirecrest can ask for by itself")
    local = tmp_path / "large"
    local.write_bytes(os.urandom(2 * 1024 * 1024))
    with pytest.raises(UnexpectedStatusException) as caught:
        client.upload(system, str(local), folder, "large", transfer_method=absent[0])
    assert caught.value.responses[-1].status_code in (400, 501)
