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

    def run(*arguments):
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.mark.parametrize("client", ["sync"], indirect=True)
def test_the_command_line_lists_uploads_and_submits(firecrest, target, client, folder, tmp_path):
    assert target.system in firecrest("systems")
    local = tmp_path / "job.sh"
    local.write_text("#!/bin/bash\necho from the command line\n")
    firecrest("upload", str(local), folder, "job.sh")
    assert "job.sh" in firecrest("ls", folder)
    job = json.loads(firecrest("submit", "--working-dir", folder, f"remote://{folder}/job.sh"))
    assert "COMPLETED" in firecrest("wait-for-job", job["jobId"])
    output = client.job_metadata(target.system, job["jobId"])[0]["standardOutput"]
    assert client.view(target.system, output) == "from the command line\n"
