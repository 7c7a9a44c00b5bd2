"""Jobs and schedules that reach out of their pod, sent to the API of kbatch-proxy as nobody's client sends them.

They are those that the API server itself is shown by the live suite (hostile.json), in its own spelling and in that of the Python client. Each is refused
with `{"detail"}`, which names the member, and nothing is left of it in the user's namespace.
"""

import argparse
import copy
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from kbatch import Cluster

TABLE = Path(__file__).parents[3] / "src/scheduler/kubernetes/admission/hostile.json"
NAMESPACE = "kbatch-fireuser"
KINDS = ["/apis/batch/v1/{}/jobs", "/apis/batch/v1/{}/cronjobs", "/api/v1/{}/pods", "/api/v1/{}/secrets", "/api/v1/{}/configmaps"]


def main():
    parser = argparse.ArgumentParser()
    for name in ["url", "image", "kubernetes"]:
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    cluster, count = Cluster(options.kubernetes), 0
    job = written(options.image)
    # What is refused below differs from this by the one member.
    for path, body in [("/jobs/", job), ("/cronjobs/", schedule(job))]:
        status, answer = ask(options, "POST", path, body)
        assert status == 200, answer
        status, answer = ask(options, "DELETE", f"{path}{answer['metadata']['name']}")
        assert status == 200, answer
    before = content(cluster)
    rows = json.loads(TABLE.read_text())
    for row in rows:
        for members in [row["members"], in_python(row["members"])]:
            changed = add(job, row["at"], members)
            for path, body, start in [("/jobs/", changed, "job"), ("/cronjobs/", schedule(changed), "job.spec.job_template")]:
                status, answer = ask(options, "POST", path, body)
                assert status == 422 and list(answer) == ["detail"], f"{row}: {status} {answer}"
                named = answer["detail"].split(": ")[0]
                assert is_named(named, start, row), f"{row}: {answer}"
                count += 1
    # Pods of the first two may still be going.
    left = {name for name in content(cluster) - before if "/pods/" not in name}
    assert not left, left
    print(f"{len(rows)} hostile manifests: {count} passed")


def written(image):
    container = {"name": "job", "image": image, "command": ["true"], "args": None, "env": None, "resources": None}
    pod = {"containers": [container], "restart_policy": "Never", "tolerations": None}
    metadata = {"generate_name": "hostile-", "name": None, "labels": {}, "annotations": {}}
    return {
        "api_version": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"backoff_limit": 0, "template": {"metadata": {"labels": {}, "annotations": {}}, "spec": pod}},
    }


def schedule(job):
    template = {"metadata": job["metadata"], "spec": job["spec"]}
    return {"api_version": "batch/v1", "kind": "CronJob", "metadata": {"generate_name": "hostile-"}, "spec": {"schedule": "0 3 * * *", "job_template": template}}


def add(job, at, members):
    """The job with these members at that place, and without those that they are another spelling of."""
    job = copy.deepcopy(job)
    place = job
    for name in at.strip("/").split("/"):
        place = place[int(name) if name.isdigit() else name]
    for name, value in members.items():
        place.pop(python_name(name), None)
        place[name] = value
    return job


def python_name(name):
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", re.sub("([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()


def in_python(value):
    if isinstance(value, dict):
        return {python_name(name): in_python(member) for name, member in value.items()}
    return [in_python(element) for element in value] if isinstance(value, list) else value


def is_named(named, start, row):
    """Whether it is a member that the row adds, or the one of the job that holds it."""
    parent = start + re.sub(r"/(\d+)", r"[\1]", row["at"]).replace("/", ".")
    return named.startswith(f"{parent}.") and any(path.startswith(named) or named == path for path in paths(parent, row["members"]))


def paths(parent, value):
    """The paths of all members, in the spelling of the Python client."""
    if isinstance(value, dict):
        return [path for name, member in value.items() for path in [f"{parent}.{python_name(name)}", *paths(f"{parent}.{python_name(name)}", member)]]
    return [path for index, element in enumerate(value) for path in paths(f"{parent}[{index}]", element)] if isinstance(value, list) else []


def ask(options, method, path, job=None):
    headers = {"Authorization": f"token {os.environ['KBATCH_TEST_TOKEN']}", "Content-Type": "application/json"}
    body = None if job is None else json.dumps({"job": job}).encode()
    request = urllib.request.Request(options.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def content(cluster):
    """What there is in the user's namespace."""
    found = set()
    for kind in KINDS:
        path = kind.format(f"namespaces/{NAMESPACE}")
        found |= {f"{path}/{item['metadata']['name']}" for item in cluster.get(path)["items"]}
    return found


if __name__ == "__main__":
    main()
