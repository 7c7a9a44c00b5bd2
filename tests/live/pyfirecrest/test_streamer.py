"""Transfers by the unmodified firecrest-streamer: the client of pyfirecrest, its command line, and what goes wrong."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import websockets
from firecrest.FirecrestException import UnexpectedStatusException

pytestmark = pytest.mark.usefixtures("files")

BIG = 200 * 1024 * 1024


@pytest.fixture(autouse=True)
def _only_with_a_streamer(methods):
    if "streamer" not in methods:
        pytest.skip("the system has no streamer")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    with open(path, "wb") as file:
        for _ in range(BIG >> 20):
            file.write(os.urandom(1 << 20))
    return path


@pytest.fixture
def endless(tmp_path):
    """A file that takes a while, below the limit that a streamer has by default."""
    path = tmp_path / "endless"
    with open(path, "wb") as file:
        file.truncate(4 << 30)
    return path


def begin(client, system, folder, local, name):
    """An upload that waits for its client, whose job runs: its job and its coordinates."""
    up = client.upload(system, str(local), folder, name, transfer_method="streamer", blocking=False)
    job = up.transfer_data["transferJob"]
    wait(lambda: state(client, system, job) == "RUNNING")
    return job, up.transfer_data["transferDirectives"]["coordinates"]


def state(client, system, job):
    found = client.job_info(system, job["jobId"])[0]["status"]["state"]
    return found if isinstance(found, str) else ",".join(found)


def wait(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.2)


def ended(client, system, job):
    wait(lambda: state(client, system, job) not in ("PENDING", "RUNNING", "COMPLETING"))
    return state(client, system, job), client.view(system, job["logs"]["errorLog"])


def names(client, system, folder):
    return [entry["name"] for entry in client.list_files(system, folder, show_hidden=True) if entry["name"] not in (".", "..")]


def streamer(operation, path, coordinates):
    command = [sys.executable, "-m", "streamer", operation, "--path", str(path), "--coordinates", coordinates]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_hundred_megabytes_go_up_and_come_down(client, system, folder, tmp_path, big):
    began = time.monotonic()
    up = client.upload(system, str(big), folder, "big", transfer_method="streamer")
    went_up = time.monotonic()
    assert client.checksum(system, f"{folder}/big")["checksum"] == sha256(big)
    checked = time.monotonic()
    back = tmp_path / "back"
    client.download(system, f"{folder}/big", str(back), transfer_method="streamer")
    print(f"200 MiB up in {went_up - began:.1f} s, down in {time.monotonic() - checked:.1f} s, with their jobs")
    assert sha256(back) == sha256(big)
    found, error = ended(client, system, up.transfer_data["transferJob"])
    assert (found, error) == ("COMPLETED", ""), error
    assert names(client, system, folder) == ["big"]


def test_an_empty_file_goes_up_and_comes_down(client, system, folder, tmp_path):
    local, back = tmp_path / "empty", tmp_path / "back"
    local.touch()
    client._client.MAX_DIRECT_UPLOAD_SIZE = 0
    try:
        client.upload(system, str(local), folder, "empty", transfer_method="streamer")
        assert client.stat(system, f"{folder}/empty")["size"] == 0
        client.download(system, f"{folder}/empty", str(back), transfer_method="streamer")
    finally:
        del client._client.MAX_DIRECT_UPLOAD_SIZE
    assert back.read_bytes() == b""


def test_the_command_line_sends_and_receives(client, system, folder, tmp_path):
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(7 * 1024 * 1024 + 1))
    _, coordinates = begin(client, system, folder, local, "file")
    sent = streamer("send", local, coordinates)
    assert sent.wait(60) == 0 and "sent successfully" in sent.stdout.read()
    assert client.checksum(system, f"{folder}/file")["checksum"] == sha256(local)
    down = client.download(system, f"{folder}/file", str(back), transfer_method="streamer", blocking=False).transfer_data
    wait(lambda: state(client, system, down["transferJob"]) == "RUNNING")
    received = streamer("receive", back, down["transferDirectives"]["coordinates"])
    assert received.wait(60) == 0
    # It compares the checksum, which its own server never lets it do.
    output = received.stdout.read()
    assert "File received successfully." in output and "mismatch" not in output, output
    assert sha256(back) == sha256(local)


def test_a_file_that_exists_is_not_overwritten(client, system, folder, tmp_path):
    local = tmp_path / "new"
    local.write_bytes(os.urandom(2 * 1024 * 1024))
    client.upload(system, str(local), folder, "file", transfer_method="streamer")
    with pytest.raises(UnexpectedStatusException) as caught:
        client.upload(system, str(local), folder, "file", transfer_method="streamer")
    assert caught.value.responses[-1].status_code == 403


def test_a_client_without_the_secret_is_refused(client, system, folder, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(os.urandom(2 * 1024 * 1024))
    job, coordinates = begin(client, system, folder, local, "file")
    address = json.loads(base64.urlsafe_b64decode(coordinates))

    async def status(headers):
        try:
            async with websockets.connect(f"ws://{address['ips'][0]}:{address['ports'][0]}", additional_headers=headers):
                return 101
        except websockets.exceptions.InvalidStatus as refused:
            return refused.response.status_code

    assert asyncio.run(status({})) == 401
    assert asyncio.run(status({"Authorization": "Bearer wrong"})) == 403
    right = {"Authorization": f"Bearer {address['secret']}"}
    assert asyncio.run(status(right)) == 101
    assert asyncio.run(status(right)) == 403, "it was used"
    found, error = ended(client, system, job)
    assert found == "FAILED" and "the client" in error, error


def test_a_client_that_is_killed_leaves_nothing(client, system, folder, endless):
    job, coordinates = begin(client, system, folder, endless, "file")
    sent = streamer("send", endless, coordinates)
    time.sleep(2)
    sent.kill()
    found, error = ended(client, system, job)
    assert found == "FAILED" and "the connection of the client was lost" in error, error
    wait(lambda: names(client, system, folder) == [])


def test_a_transfer_ends_when_its_job_is_cancelled(client, system, folder, endless):
    job, coordinates = begin(client, system, folder, endless, "file")
    sent = streamer("send", endless, coordinates)
    time.sleep(1.5)
    # So that it does not fill the disk until the end is noticed.
    sent.send_signal(signal.SIGSTOP)
    client.cancel_job(system, job["jobId"])
    wait(lambda: names(client, system, folder) == [])
    sent.kill()
    assert state(client, system, job) == "CANCELLED"
