"""The load of a soak test, and what it may cost: see run.sh.

Eight clients repeat the requests below in an order of their own. Some leave in the middle of an answer or of an upload, as clients do.
An answer of 500 and more is a failure, and so is any that is not what the request expects.
"""

import argparse
import http.client
import itertools
import json
import os
import random
import re
import sys
import threading
import time
import urllib.parse
import urllib.request

CLIENTS = 8
SAMPLE = 5
MIB = 1 << 20


class Load:
    """What all clients share: the token, the counts, and the time when the load ends."""

    def __init__(self, options):
        self.options, self.address = options, urllib.parse.urlsplit(options.url).netloc
        self.end = time.monotonic() + options.minutes * 60
        self.lock, self.counts, self.failures = threading.Lock(), {}, []
        self.renew()

    def renew(self):
        with open(os.environ["SOAK_SECRET_FILE"]) as file:
            secret = file.read().strip()
        body = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": self.options.user, "client_secret": secret})
        with urllib.request.urlopen(os.environ["SOAK_TOKEN_URL"], body.encode(), timeout=10) as answer:
            self.token = json.load(answer)["access_token"]

    def note(self, name, status, expected):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            if status not in expected:
                self.failures.append(f"{name}: {status}")


class Client(threading.Thread):
    """One client with a connection of its own."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.random = load, random.Random(number)
        self.folder = f"{load.options.folder}/{number}"
        self.connection = http.client.HTTPConnection(load.address, timeout=60)
        self.content = self.random.randbytes(MIB)

    def run(self):
        self.request("mkdir", "POST", "mkdir", body={"sourcePath": self.folder}, expected={201})
        self.request("upload", "PUT", "upload", {"path": f"{self.folder}/file"}, body=self.content, expected={201, 204})
        kinds = [self.small, self.small, self.small, self.contents, self.batch, self.jobs, self.wrong, self.leave]
        while time.monotonic() < self.load.end:
            try:
                self.random.choice(kinds)()
            except (OSError, http.client.HTTPException) as error:
                self.load.note("connection", repr(error), ())
                self.connection.close()

    def request(self, name, method, operation, query=None, body=None, expected=frozenset({200}), headers=None, read=True):
        path = operation if operation.startswith("/") else f"/filesystem/bench/ops/{operation}"
        path += f"?{urllib.parse.urlencode(query)}" if query else ""
        headers = {"Authorization": f"Bearer {self.load.token}"} | (headers or {})
        if isinstance(body, dict):
            headers["Content-Type"], body = "application/json", json.dumps(body)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        content = answer.read() if read else answer.read(1000)
        self.load.note(name, answer.status, expected)
        return content

    def small(self):
        file = {"path": f"{self.folder}/file"}
        choices = [("stat", file), ("ls", {"path": self.folder}), ("head", file), ("checksum", file), ("find", {"path": self.folder}), ("df", file)]
        operation, query = self.random.choice(choices)
        self.request(operation, "GET", operation, query)

    def contents(self):
        query = {"path": f"{self.folder}/file"}
        self.request("upload", "PUT", "upload", query, body=self.content, expected={201, 204})
        if self.request("download", "GET", "download", query, expected={206}, headers={"Range": "bytes=0-"}) != self.content:
            self.load.note("download", "other content", ())
        self.request("archive", "GET", "archive", {"path": self.folder})

    def batch(self):
        operations = [{"op": "stat", "path": f"{self.folder}/file"}] * 50
        self.request("batch", "POST", "batch", body={"operations": operations})

    def jobs(self):
        self.request("jobs", "GET", "/compute/bench/jobs")
        if self.random.random() < 0.1:
            job = {"name": "soak", "workingDirectory": self.folder, "standardOutput": "/dev/null", "script": "#!/bin/sh\nsleep 30\n"}
            answer = json.loads(self.request("submit", "POST", "/compute/bench/jobs", body={"job": job}, expected={201}))
            self.request("cancel", "DELETE", f"/compute/bench/jobs/{answer.get('jobId')}", expected={204})

    def wrong(self):
        self.request("outside", "GET", "stat", {"path": "/root"}, expected={400, 403})
        self.request("absent", "GET", "stat", {"path": f"{self.folder}/absent"}, expected={404})
        self.request("no token", "GET", "/status/systems", headers={"Authorization": "Bearer x"}, expected={401})

    def leave(self):
        """Leaves in the middle of a download, of a followed file, and of an upload."""
        query = {"path": f"{self.folder}/file"}
        self.request("left download", "GET", "download", query, expected={206}, headers={"Range": "bytes=0-"}, read=False)
        self.connection.close()
        self.connection.request("GET", f"/filesystem/bench/ops/follow?{urllib.parse.urlencode(query | {'offset': 0})}",
                                headers={"Authorization": f"Bearer {self.load.token}"})
        self.load.note("left follow", self.connection.getresponse().status, {200})
        self.connection.close()
        self.connection.putrequest("PUT", f"/filesystem/bench/ops/upload?{urllib.parse.urlencode(query)}")
        self.connection.putheader("Authorization", f"Bearer {self.load.token}")
        self.connection.putheader("Content-Length", str(MIB))
        self.connection.endheaders(self.content[:1000])
        self.load.note("left upload", 0, {0})
        self.connection.close()


def sample(options):
    """What the process holds now: MiB, file descriptors, and its own counts of SSH connections and requests."""
    with open(f"/proc/{options.pid}/status") as file:
        resident = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024
    with urllib.request.urlopen(options.metrics, timeout=10) as answer:
        text = answer.read().decode()

    def total(name):
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*?}})? (\S+)", text, re.M))

    return {"MiB": resident, "descriptors": len(os.listdir(f"/proc/{options.pid}/fd")), "SSH connections": total("goldcrest_ssh_connections"),
            "waiting": total("goldcrest_ssh_requests_waiting"), "requests": total("goldcrest_http_requests_in_flight")}


def written(values):
    return ", ".join(f"{name} {value:.0f}" for name, value in values.items())


def most(samples):
    return {name: max(each[name] for each in samples) for name in samples[0]}


def mistakes(load, samples, before, after):
    """What is not as it should be."""
    found = [f"{count} times {text}" for text, count in ((text, load.failures.count(text)) for text in sorted(set(load.failures)))]
    # The first third fills caches and pools.
    third = len(samples) // 3
    middle, last = most(samples[third : 2 * third]), most(samples[2 * third :])
    if last["MiB"] > middle["MiB"] * 1.1 + 8:
        found.append(f"memory grew from {middle['MiB']:.0f} to {last['MiB']:.0f} MiB")
    if last["descriptors"] > middle["descriptors"] * 1.1 + 10:
        found.append(f"descriptors grew from {middle['descriptors']} to {last['descriptors']}")
    found += [f"after the load: {name} {after[name]:.0f}" for name in ("SSH connections", "waiting", "requests") if after[name]]
    if after["descriptors"] > before["descriptors"] + 5:
        found.append(f"after the load: {after['descriptors']} descriptors, before it {before['descriptors']}")
    return found


def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "metrics", "pid", "user", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    options = parser.parse_args()
    before = sample(options)
    load, samples = Load(options), []
    clients = [Client(load, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for number in itertools.count(1):
        time.sleep(SAMPLE)
        samples.append(sample(options))
        if number % 6 == 0:
            load.renew()
            print(f"{number * SAMPLE:5} s: {written(samples[-1])}; {sum(load.counts.values())} requests so far", flush=True)
        if time.monotonic() > load.end:
            break
    for client in clients:
        client.join(90)
        client.connection.close()
    # Connections without work end after ten seconds.
    for _ in range(12):
        time.sleep(SAMPLE)
        after = sample(options)
        if not after["SSH connections"] and not after["requests"]:
            break
    found = mistakes(load, samples, before, after)
    print(f"before: {written(before)}\nat most: {written(most(samples))}\nafter: {written(after)}")
    print(json.dumps(load.counts))
    print("\n".join(found))
    print(f"soak: {sum(load.counts.values())} requests in {options.minutes:g} minutes, {len(load.failures)} failed; {len(found)} mistakes")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
