"""Every job call of pyfirecrest."""

import time
import uuid

import httpx
import pytest
from firecrest.FirecrestException import JobTimeoutException, UnexpectedStatusException


def finished(client, system, job):
    return client.wait_for_job(system, job["jobId"], timeout=90)[0]


def state(job):
    return job["status"]["state"]


def printed(client, target, job, metadata):
    """What a job has written: to a file, or to a scheduler that keeps it, for which the client has no method."""
    if metadata["standardOutput"]:
        return client.view(target.system, metadata["standardOutput"])
    headers = {"Authorization": f"Bearer {target.authorization().get_access_token()}"}
    answer = httpx.get(f"{target.url}/compute/{target.system}/jobs/{job}/logs", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_script_runs_to_its_end_and_is_described(client, system, target, folder, supported):
    name = f"pyfirecrest-{uuid.uuid4().hex}"
    script = f'#!/bin/bash\n#SBATCH --job-name={name}\necho "word: $WORD"\n'
    job = client.submit(system, folder, script_str=script, env_vars={"WORD": "it's a 'word'"})
    ended = finished(client, system, job)
    assert "COMPLETED" in state(ended)
    assert ended["jobId"] == job["jobId"]
    assert ended["workingDirectory"] == folder
    assert any(entry["jobId"] == job["jobId"] for entry in client.job_info(system))
    metadata = supported(client.job_metadata, system, job["jobId"])[0]
    assert metadata["jobId"] == job["jobId"]
    assert printed(client, target, job["jobId"], metadata) == "word: it's a 'word'\n"


def test_a_local_and_a_remote_script_run(client, system, folder, tmp_path, supported):
    local = tmp_path / "job.sh"
    local.write_text("#!/bin/bash\ntrue\n")
    first = client.submit(system, folder, script_local_path=str(local))
    assert "COMPLETED" in state(finished(client, system, first))
    supported(client.upload, system, str(local), folder, "job.sh")
    second = supported(client.submit, system, folder, script_remote_path=f"{folder}/job.sh")
    assert "COMPLETED" in state(finished(client, system, second))


def test_a_failing_job_is_shown_as_failed(client, system, folder):
    ended = finished(client, system, client.submit(system, folder, script_str="#!/bin/bash\nexit 3\n"))
    assert "FAILED" in state(ended)
    assert ended["status"]["exitCode"] == 3


def test_the_list_takes_every_filter(client, system, folder):
    job = client.submit(system, folder, script_str="#!/bin/bash\nsleep 120\n")
    name = client.job_info(system, job["jobId"])[0]["name"]
    for filters in ({}, {"allusers": True}, {"time_window": "1h"}, {"name": name}):
        assert any(entry["jobId"] == job["jobId"] for entry in client.job_info(system, **filters)), filters
    assert all(entry["name"] != name for entry in client.job_info(system, name="another-name"))
    client.cancel_job(system, job["jobId"])


def test_a_cancelled_job_ends(client, system, folder):
    job = client.submit(system, folder, script_str="#!/bin/bash\nsleep 300\n")
    client.cancel_job(system, job["jobId"])
    assert "CANCELLED" in state(finished(client, system, job))


def test_a_wait_that_runs_out_cancels_the_job(client, system, folder):
    job = client.submit(system, folder, script_str="#!/bin/bash\nsleep 300\n")
    with pytest.raises(JobTimeoutException):
        client.wait_for_job(system, job["jobId"], timeout=10)
    assert "CANCELLED" in state(finished(client, system, job))


def test_a_command_is_attached(client, system, folder, supported):
    job = client.submit(system, folder, script_str="#!/bin/bash\nsleep 120\n")
    deadline = time.monotonic() + 60
    while state(client.job_info(system, job["jobId"])[0]) != "RUNNING":
        assert time.monotonic() < deadline, "the job does not start"
        time.sleep(0.5)
    try:
        supported(client.attach_to_job, system, job["jobId"], f"echo attached > {folder}/attached")
        assert supported(client.view, system, f"{folder}/attached") == "attached\n"
    finally:
        client.cancel_job(system, job["jobId"])


def test_an_unknown_job_is_reported_as_the_client_expects(client, system):
    with pytest.raises(UnexpectedStatusException) as caught:
        client.job_info(system, "99999999")
    answer = caught.value.responses[-1]
    assert answer.status_code == 404
    assert "Job not found" in answer.json()["message"]


def test_many_jobs_are_submitted_and_waited_for(client, system, folder):
    jobs = [client.submit(system, folder, script_str="#!/bin/bash\ntrue\n") for _ in range(4)]
    assert all("COMPLETED" in state(finished(client, system, job)) for job in jobs)


def test_a_job_is_sent_where_the_caller_says(client, system, folder, supported):
    partition = supported(client.partitions, system)[0]["name"]
    account = client.job_info(system, client.submit(system, folder, script_str="#!/bin/bash\ntrue\n")["jobId"])[0]["account"]
    if not account:
        pytest.skip("the system has no accounts")
    job = client.submit(system, folder, script_str="#!/bin/bash\ntrue\n", account=account, partition=partition)
    ended = finished(client, system, job)
    assert (ended["account"], ended["partition"]) == (account, partition)
    assert any(entry["jobId"] == job["jobId"] for entry in client.job_info(system, account=account))


def test_what_the_scheduler_refuses_is_told(client, system, folder, supported):
    supported(client.partitions, system)
    for refused in ({"partition": "no-such-partition"}, {"reservation": "no-such-reservation"}):
        with pytest.raises(UnexpectedStatusException) as caught:
            client.submit(system, folder, script_str="#!/bin/bash\ntrue\n", **refused)
        assert caught.value.responses[-1].status_code == 400, refused
