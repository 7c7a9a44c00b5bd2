"""Measures Goldcrest before a Kubernetes with many jobs of many users: see run.sh.

The first job of one user is submitted through Goldcrest. Its Job is the pattern for those of the other users, which are made at the API server as
Goldcrest would have made them, and whose pods kwok lets end. Then:

  list         the list of the one user's jobs, one request after the other on one connection
  memory       the resident memory of Goldcrest without the pages of its own file, which are as large as its debugging information
  submission   beside the two requests that `kubectl create` of the same Job and its Secret sends, by a client with an open connection, in turns;
               where there is kubectl, beside its whole run too; the first of these is demanded of a release build alone
  output       the time between the moment when a job writes a line and that when it is read
"""

import argparse
import base64
import concurrent.futures
import copy
import http.client
import json
import os
import pathlib
import shutil
import ssl
import statistics
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request

USER = "fireuser"
# What is demanded: a list in milliseconds, memory in MiB, the ratio of submissions, and a line in milliseconds.
LIMITS = {"list": 5, "memory": 100, "submission": 1.3, "kubectl": 1.3, "output": 100}
# Marks what this run has made itself.
MARK = "goldcrest-scale"
SCRIPT = "#!/bin/sh\ntrue\n"
# Busybox has no fraction of a second but in the clock of the system since its start.
WRITER = '#!/bin/sh\nfor n in $(seq 40); do read -r up rest </proc/uptime; echo "$up"; sleep 0.2; done\n'


class Connection:
    """Requests on one connection."""

    def __init__(self, url, token):
        parts = urllib.parse.urlsplit(url)
        context = ssl._create_unverified_context()
        kind = http.client.HTTPConnection if parts.scheme == "http" else lambda *a, **k: http.client.HTTPSConnection(*a, context=context, **k)
        self.http, self.headers = kind(parts.hostname, parts.port, timeout=60), {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None, expected=(200, 201)):
        self.http.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.http.getresponse()
        content = answer.read()
        if answer.status not in expected:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content or b"null")


def token():
    secret = pathlib.Path(os.environ["SCALE_SECRET_FILE"]).read_text().strip()
    body = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": USER, "client_secret": secret})
    with urllib.request.urlopen(os.environ["SCALE_TOKEN_URL"], body.encode(), timeout=10) as answer:
        return json.load(answer)["access_token"]


def section_names(program):
    """Of a file in the format ELF (elf(5)). The release profile leaves no symbols in it."""
    (headers,) = struct.unpack_from("<Q", program, 0x28)
    size, _, names = struct.unpack_from("<HHH", program, 0x3A)
    start, length = struct.unpack_from("<QQ", program, headers + names * size + 24)
    return program[start : start + length]


def timed(work):
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


class Scale:
    def __init__(self, options):
        self.options = options
        self.facts = json.loads(pathlib.Path(options.kubernetes).read_text())
        self.admin_token = pathlib.Path(self.facts["adminTokenFile"]).read_text().strip()
        self.admin, self.token = self.api_server(), token()
        self.user, self.failed, self.shown = self.goldcrest(), [], 0
        self.is_optimised = b".symtab" not in section_names(pathlib.Path(f"/proc/{options.pid}/exe").read_bytes())

    def api_server(self):
        return Connection(self.facts["url"], self.admin_token)

    def goldcrest(self):
        return Connection(self.options.url, self.token)

    def submit(self, script=SCRIPT, partition="played"):
        job = {"name": "scale", "workingDirectory": "/tmp", "script": script, "partition": partition}
        return self.user.ask("POST", "/compute/kubernetes/jobs", {"job": job})["jobId"]

    def show(self, name, value, unit, note=""):
        # A program that is not optimised takes many times the time of the work that the two requests do not have.
        holds = value <= LIMITS[name] or (name == "submission" and not self.is_optimised)
        self.shown += 1
        print(f"{name:11} {value:8.2f} {unit:4} limit {LIMITS[name]}{'' if holds else ', NOT HELD'}{note}", flush=True)
        if not holds:
            self.failed.append(name)

    def wait(self, what, seconds, check):
        end = time.monotonic() + seconds
        while not check():
            if time.monotonic() > end:
                raise SystemExit(f"it did not happen within {seconds} s: {what}")
            time.sleep(0.5)

    def node(self):
        """The node whose pods kwok plays."""
        capacity = {"cpu": "4000", "memory": "4000Gi", "pods": "100000"}
        node = {"metadata": {"name": "kwok-0", "labels": {"type": "kwok"}}, "spec": {"taints": [{"key": "kwok", "value": "fake", "effect": "NoSchedule"}]},
                "status": {"capacity": capacity, "allocatable": capacity}}
        self.admin.ask("POST", "/api/v1/nodes", node, (201, 409))

    def fill(self):
        """The jobs of all users, like the first one of the one."""
        name = self.submit()
        pattern = self.admin.ask("GET", f"/apis/batch/v1/namespaces/scale-{USER}/jobs/{name}")
        for member in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "labels"):
            pattern["metadata"].pop(member, None)
        pattern["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "goldcrest", MARK: "yes"}
        pattern.pop("status", None)
        pattern["spec"].pop("selector", None)
        pattern["spec"]["template"]["metadata"] = {"labels": {"app.kubernetes.io/managed-by": "goldcrest"}}
        # Their pods start without the scripts, which are not made.
        for volume in pattern["spec"]["template"]["spec"]["volumes"]:
            volume["secret"]["optional"] = True
        each = self.options.jobs // self.options.users

        def of_user(number):
            connection, user = self.api_server(), USER if number == 0 else f"user{number}"
            space = {"metadata": {"name": f"scale-{user}", "annotations": {"goldcrest/user": user}, "labels": {MARK: "yes"}}}
            connection.ask("POST", "/api/v1/namespaces", space, (201, 409))
            for index in range(each):
                job = copy.deepcopy(pattern)
                job["metadata"] |= {"name": f"scale-{number}-{index}", "namespace": f"scale-{user}"}
                job["metadata"]["annotations"]["goldcrest/user"] = user
                connection.ask("POST", f"/apis/batch/v1/namespaces/scale-{user}/jobs", job, (201, 409))
            return each

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            made = sum(pool.map(of_user, range(self.options.users)))
        print(f"{made} jobs of {self.options.users} users", flush=True)
        self.pattern = pattern

    def ended(self):
        jobs = self.user.ask("GET", "/compute/kubernetes/jobs")["jobs"]
        return len(jobs) > self.options.jobs // self.options.users and all(job["status"]["state"] == "COMPLETED" for job in jobs)

    def everything_has_ended(self):
        # One job that has not is enough: a list of all would cost the API server more than they do.
        selectors = f"labelSelector={MARK}%3Dyes&fieldSelector=status.successful%3D0&limit=1"
        return not self.admin.ask("GET", f"/apis/batch/v1/jobs?{selectors}")["items"]

    def list(self):
        times = [timed(lambda: self.user.ask("GET", "/compute/kubernetes/jobs")) for _ in range(200)]
        self.show("list", statistics.median(times), "ms", f" (99 of 100: {sorted(times)[197]:.2f})")

    def memory(self):
        status = pathlib.Path(f"/proc/{self.options.pid}/status").read_text()
        resident, peak, program = (int(status.split(name)[1].split()[0]) / 1024 for name in ("VmRSS:", "VmHWM:", "RssFile:"))
        self.show("memory", resident - program, "MiB", f" (peak: {peak - program:.0f}; and {program:.0f} of the program's file)")

    def submission(self):
        kubectl = shutil.which("kubectl")
        ours, bare, theirs = [], [], []
        for number in range(60):
            name = f"bare-{os.getpid()}-{number}"
            turns = [lambda: ours.append(timed(self.submit)), lambda: bare.append(timed(lambda: self.create(self.objects(name))))]
            # Each comes first as often: what the first has begun slows the second down.
            for turn in turns if number % 2 else reversed(turns):
                turn()
            if kubectl and number % 6 == 0:
                theirs.append(timed(lambda: self.run_kubectl(kubectl, self.objects(f"kubectl-{os.getpid()}-{number}"))))
        ours, bare = statistics.median(ours), statistics.median(bare)
        self.show("submission", ours / bare, "", f" ({ours:.1f} ms; {bare:.1f} ms for the two requests alone)")
        if theirs:
            theirs = statistics.median(theirs)
            self.show("kubectl", ours / theirs, "", f" ({theirs:.1f} ms for a run of it)")

    def objects(self, name):
        """A Job and its Secret, as a submission makes them."""
        job = copy.deepcopy(self.pattern)
        job["metadata"] |= {"name": name, "namespace": f"scale-{USER}"}
        script = base64.b64encode(SCRIPT.encode()).decode()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": f"scale-{USER}"}, "data": {"script": script}}
        return job, secret

    def create(self, objects):
        job, secret = objects
        self.admin.ask("POST", f"/apis/batch/v1/namespaces/scale-{USER}/jobs", job)
        self.admin.ask("POST", f"/api/v1/namespaces/scale-{USER}/secrets", secret)

    def run_kubectl(self, kubectl, objects):
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        command = [kubectl, "--kubeconfig", self.facts["adminKubeconfig"], "create", "-f", "-"]
        subprocess.run(command, input=listed.encode(), check=True, stdout=subprocess.DEVNULL)

    def output(self):
        job, late = self.submit(WRITER, "real"), []
        self.user.http.request("GET", f"/compute/kubernetes/jobs/{job}/logs?follow=true", headers=self.user.headers)
        for line in self.user.http.getresponse():
            with open("/proc/uptime", encoding="ascii") as clock:
                late.append((float(clock.read().split()[0]) - float(line)) * 1000)
        # The first lines were written before the follower could read.
        self.show("output", statistics.median(late[5:]), "ms", f" (the latest of {len(late) - 5}: {max(late[5:]):.0f})")

    def remove(self):
        for space in self.admin.ask("GET", "/api/v1/namespaces")["items"]:
            if space["metadata"]["name"].startswith("scale-"):
                self.admin.ask("DELETE", f"/api/v1/namespaces/{space['metadata']['name']}", expected=(200, 202, 404, 409))
        self.admin.ask("DELETE", "/api/v1/nodes/kwok-0", expected=(200, 404))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("url", "kubernetes"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("pid", "jobs", "users"):
        parser.add_argument(f"--{name}", type=int, required=True)
    scale, begun = Scale(parser.parse_args()), time.monotonic()
    try:
        scale.node()
        scale.fill()
        scale.wait("all jobs have ended", 300, scale.everything_has_ended)
        print(f"all have ended after {time.monotonic() - begun:.0f} s", flush=True)
        # Goldcrest has closed the connection that was not used meanwhile.
        scale.user = scale.goldcrest()
        scale.wait("the list of the one user is complete", 60, scale.ended)
        scale.list()
        scale.memory()
        scale.submission()
        scale.output()
    finally:
        scale.remove()
    print(f"scale: {scale.shown - len(scale.failed)} passed, {len(scale.failed)} failed in {time.monotonic() - begun:.0f} s")
    sys.exit(1 if scale.failed else 0)


if __name__ == "__main__":
    main()
