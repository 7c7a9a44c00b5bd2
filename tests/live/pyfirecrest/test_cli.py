"""The `firecrest` command that comes with pyfirecrest."""

import json
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.fixture
def firecrest(target):
    environment = {
        **os.environ,
        "FIRECREST_URL": target.url,
        "FIRECREST_SYSTEM": target.system,
        "FIRECREST_API_VERSION": "2.6.0",
        # Its tables and JSON are otherwise wrapped to the width of a terminal.
        "COLUMNS": "4000",
    }
    if target.token:
        environment["FIRECREST_TOKEN_COMMAND"] = "printenv GOLDCREST_TEST_TOKEN"
    else:
        environment["AUTH_TOKEN_URL"] = target.token_url
        environment["FIRECREST_CLIENT_ID"] = target.client_id
        environment["FIRECREST_CLIENT_SECRET"] = target.client_secret
    program = pathlib.Path(sys.executable).with_name("firecrest")

    def run(*arguments, answer=None):
        done = subprocess.run(
            [program, *arguments], env=environment, input=answer, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


# The fixtures make their files with the synchronous client.
pytestmark = pytest.mark.parametrize("client", ["sync"], indirect=True)


def test_the_service_and_its_systems_are_shown(firecrest, target, client, supported):
    assert firecrest("server-version").strip().startswith("2")
    assert target.system in firecrest("systems")
    assert supported(client.userinfo, target.system)["user"]["name"] in firecrest("id")
    for command in ("get-nodes", "get-partitions", "get-reservations"):
        supported(getattr(client, command.removeprefix("get-")), target.system)
        firecrest(command)


def test_files_are_worked_with(firecrest, target, client, folder, lines, tmp_path):
    path, content = lines
    firecrest("mkdir", "-p", f"{folder}/a/b")
    firecrest("symlink", path, f"{folder}/.link")
    listing = firecrest("ls", "-a", folder)
    assert all(name in listing for name in ("lines.txt", ".link", "a"))
    assert "b" in firecrest("ls", "-R", f"{folder}/a")
    assert firecrest("ls", "-n", folder) != firecrest("ls", folder)
    assert "text" in firecrest("file", path)
    assert str(len(content)) in firecrest("stat", path)
    assert client.checksum(target.system, path)["checksum"] in firecrest("checksum", path)
    assert firecrest("head", "-n", "2", path).rstrip() == "line 1\nline 2"
    assert firecrest("tail", "-c", "8", path).strip() == "line 20"
    firecrest("chmod", path, "600")
    assert client.stat(target.system, path)["mode"] & 0o777 == 0o600
    firecrest("download", path, str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == content
    firecrest("compress", path, f"{folder}/archive.tar.gz")
    firecrest("extract", f"{folder}/archive.tar.gz", f"{folder}/a/b")
    assert "lines.txt" in firecrest("ls", "-R", f"{folder}/a/b")
    firecrest("rm", f"{folder}/a", answer="y\n")
    assert " a " not in firecrest("ls", folder)


def test_files_are_moved_and_copied_by_jobs(firecrest, target, client, folder, lines, supported):
    supported(client.cp, target.system, lines[0], f"{folder}/probe", timeout=60)
    firecrest("cp", lines[0], f"{folder}/copy")
    firecrest("mv", f"{folder}/copy", f"{folder}/moved")
    assert client.view(target.system, f"{folder}/moved") == lines[1]


def test_a_job_is_submitted_and_followed(files, firecrest, target, client, folder, tmp_path, supported):
    local = tmp_path / "job.sh"
    local.write_text('#!/bin/bash\necho "from the command line: $WORD"\n')
    firecrest("upload", str(local), folder, "job.sh")
    assert "job.sh" in firecrest("ls", folder)
    # The command line cannot tell what is not supported from a failure: the library asks first.
    supported(client.submit, target.system, folder, script_remote_path=f"{folder}/job.sh")
    job = json.loads(firecrest("submit", "--working-dir", folder, "-e", "WORD=word", f"remote://{folder}/job.sh"))["jobId"]
    assert "COMPLETED" in firecrest("wait-for-job", job)
    assert job in firecrest("job-info", job)
    assert job in firecrest("job-info", "--time-window", "1h")
    output = client.job_metadata(target.system, job)[0]["standardOutput"]
    assert output in firecrest("job-metadata", job)
    assert client.view(target.system, output) == "from the command line: word\n"


def test_a_job_is_cancelled(firecrest, target, client, folder, tmp_path):
    local = tmp_path / "job.sh"
    local.write_text("#!/bin/bash\nsleep 300\n")
    job = json.loads(firecrest("submit", "--working-dir", folder, str(local)))["jobId"]
    firecrest("cancel", job)
    assert "CANCELLED" in client.wait_for_job(target.system, job, timeout=60)[0]["status"]["state"]
