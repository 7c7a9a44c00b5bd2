"""The calls of FirecREST's web interface (eth-cscs/firecrest-ui), in its words and with what it reads of each answer.

It is in no package registry, so it is not run here; docs/clients.md says how to run it.
"""

import time
import uuid

import httpx
import pytest


class Portal:
    """The interface's way to ask: 204 is nothing, everything else is JSON, and an error has a `message`."""

    def __init__(self, target):
        token = target.authorization().get_access_token()
        self._http = httpx.Client(base_url=target.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def ask(self, method, path, status=200, **content):
        headers = {"X-Request-ID": str(uuid.uuid4()), "X-Correlation-ID": str(uuid.uuid4())}
        answer = self._http.request(method, path, headers=headers, **content)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return None if status == 204 else answer.json()

    def content(self, path, **content):
        answer = self._http.get(path, **content)
        assert answer.status_code == 200
        return answer.content

    def close(self):
        self._http.close()


@pytest.fixture(scope="module")
def portal(target):
    portal = Portal(target)
    yield portal
    portal.close()


# The fixtures make their files with the synchronous client.
pytestmark = pytest.mark.parametrize("client", ["sync"], indirect=True)


def test_the_dashboard_has_what_it_shows(portal, client, system, supported):
    for shown in portal.ask("GET", "/status/systems")["systems"]:
        # Its length is read without a look whether it is there.
        assert isinstance(shown["servicesHealth"], list)
        for health in shown["servicesHealth"]:
            assert {"serviceType", "lastChecked", "latency", "healthy", "message"} <= health.keys()
        assert shown["probing"]["services"] is None or isinstance(shown["probing"]["services"], dict)
        assert shown["scheduler"]["type"] and (shown["ssh"] is None or shown["ssh"]["host"])
        assert all({"path", "dataType", "defaultWorkDir"} <= entry.keys() for entry in shown["fileSystems"])
        assert shown["dataOperation"]["max_ops_file_size"] > 0
    supported(client.nodes, system)
    for node in portal.ask("GET", f"/status/{system}/nodes")["nodes"]:
        assert {"name", "state", "cpus", "allocCpus", "partitions"} <= node.keys()
    assert all(entry["name"] for entry in portal.ask("GET", f"/status/{system}/partitions")["partitions"])
    assert isinstance(portal.ask("GET", f"/status/{system}/reservations")["reservations"], list)


def test_a_job_goes_through_its_pages(files, portal, client, system, folder, gaps):
    # A scheduler that keeps what jobs print has no files for it.
    is_kept = any("keeps the output of jobs itself" in gap["reason"] for gap in gaps)
    user = portal.ask("GET", f"/status/{system}/userinfo")
    assert user["user"]["name"] and all(group["name"] for group in user["groups"])
    account = user["group"]["name"]
    job = {
        "script": "#!/bin/bash\necho from the interface: $WORD\n",
        "working_directory": folder,
        "account": account,
        "name": "portal.sh",
        "environment": {"WORD": "word"},
    }
    if not is_kept:
        job["standard_output"] = f"{folder}/out.txt"
    submitted = portal.ask("POST", f"/compute/{system}/jobs", 201, json={"job": job})["jobId"]
    client.wait_for_job(system, submitted, timeout=60)
    listed = portal.ask("GET", f"/compute/{system}/jobs?account={account}&allusers=false")["jobs"]
    assert listed == [] or all(entry["account"] == account for entry in listed)
    shown = portal.ask("GET", f"/compute/{system}/jobs/{submitted}")["jobs"][0]
    assert (shown["jobId"], shown["name"], shown["workingDirectory"]) == (submitted, "portal.sh", folder)
    assert shown["status"]["state"] == "COMPLETED" and shown["time"]["start"] <= shown["time"]["end"]
    assert {"tasks", "account", "allocationNodes", "cluster", "group", "nodes", "partition", "priority", "user"} <= shown.keys()
    metadata = portal.ask("GET", f"/compute/{system}/jobs/{submitted}/metadata")["jobs"][0]
    assert {"script", "standardInput", "standardOutput", "standardError"} <= metadata.keys()
    if is_kept:
        printed = portal.content(f"/compute/{system}/jobs/{submitted}/logs").decode()
    else:
        printed = portal.ask("GET", f"/filesystem/{system}/ops/tail", params={"path": f"{folder}/out.txt", "lines": "100"})["output"]["content"]
    assert printed == "from the interface: word\n"


def test_a_job_is_cancelled_from_its_page(portal, client, system, folder):
    job = {"script": "#!/bin/bash\nsleep 300\n", "working_directory": folder, "name": "portal.sh"}
    submitted = portal.ask("POST", f"/compute/{system}/jobs", 201, json={"job": job})["jobId"]
    portal.ask("DELETE", f"/compute/{system}/jobs/{submitted}", 204)
    deadline = time.monotonic() + 60
    while "CANCELLED" not in portal.ask("GET", f"/compute/{system}/jobs/{submitted}")["jobs"][0]["status"]["state"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_file_browser_has_what_it_shows(files, portal, client, system, folder):
    ops = f"/filesystem/{system}/ops"
    made = portal.ask("POST", f"{ops}/mkdir", 201, json={"path": f"{folder}/made", "parent": False})["output"]
    assert made["type"] == "d"
    content = b"from the interface\n"
    portal.ask("POST", f"{ops}/upload", 204, params={"path": f"{folder}/made"}, files={"file": ("file.txt", content)})
    path = f"{folder}/made/file.txt"
    (entry,) = portal.ask("GET", f"{ops}/ls", params={"path": f"{folder}/made"})["output"]
    assert (entry["name"], entry["type"], entry["size"]) == ("file.txt", "-", str(len(content)))
    assert {"linkTarget", "user", "group", "permissions", "lastModified"} <= entry.keys()
    assert portal.content(f"{ops}/download", params={"path": path}) == content
    assert len(portal.ask("GET", f"{ops}/checksum", params={"path": path})["output"]["checksum"]) == 64
    link = {"path": path, "linkPath": f"{folder}/made/link"}
    assert portal.ask("POST", f"{ops}/symlink", 201, json=link)["output"]["linkTarget"] == path
    assert portal.ask("PUT", f"{ops}/chmod", json={"path": path, "mode": "600"})["output"]["permissions"].startswith("rw-------")
    owner = {"path": path, "owner": entry["user"], "group": entry["group"]}
    assert portal.ask("PUT", f"{ops}/chown", json=owner)["output"]["user"] == entry["user"]
    portal.ask("DELETE", f"{ops}/rm?path={folder}/made", 204)
    message = portal.ask("GET", f"{ops}/ls", 404, params={"path": f"{folder}/made"})["message"]
    assert "No such file or directory" in message


def test_files_are_moved_and_copied_by_jobs(portal, client, system, lines, folder, supported):
    supported(client.cp, system, lines[0], f"{folder}/probe", timeout=60)
    for operation in ("cp", "mv"):
        body = {"sourcePath": lines[0], "targetPath": f"{folder}/{operation}"}
        job = portal.ask("POST", f"/filesystem/{system}/transfer/{operation}", 201, json=body)["transferJob"]
        assert job["jobId"] and job["system"] == system and job["workingDirectory"] and job["logs"]["outputLog"]
        client.wait_for_job(system, job["jobId"], timeout=60)
    assert {entry["name"] for entry in client.list_files(system, folder)} >= {"cp", "mv"}
