"""What users do with a Goldcrest in the cluster: see run.sh.

  client.py work URL              submits a job, and looks at it, at what it prints and at everything else that the rights of the chart are for
  client.py load URL STOP_FILE    asks from eight places until the file is there; every request must succeed

The token is in $CLIENT_TOKEN.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import sys
import time
import urllib.parse
import uuid

SYSTEM = "here"
HEADERS = {"Authorization": f"Bearer {os.environ.get('CLIENT_TOKEN', '')}", "Content-Type": "application/json"}


class Client:
    """Requests on one connection, which is made anew when the server has closed it between two of them."""

    def __init__(self, url):
        self.place = urllib.parse.urlsplit(url).netloc
        self.http, self.is_fresh = None, True

    def ask(self, method, path, body=None, expected=(200, 201, 204), headers=()):
        content = json.dumps(body) if body is not None else None
        for _ in range(2):
            if self.http is None:
                self.http, self.is_fresh = http.client.HTTPConnection(self.place, timeout=30), True
            try:
                self.http.request(method, path, content, {**HEADERS, **dict(headers)})
                answer = self.http.getresponse()
                text = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                # A request on a connection that was open already, and was closed before any answer, may be sent again where it changes nothing.
                self.close()
                if self.is_fresh or method != "GET":
                    raise SystemExit(f"{method} {path}: {error!r}") from error
        self.is_fresh = False
        if answer.status not in expected:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]!r}")
        if answer.will_close:
            self.close()
        return text

    def get(self, path):
        return json.loads(self.ask("GET", path))

    def close(self):
        if self.http is not None:
            self.http.close()
        self.http = None


def submit(client, script, **more):
    job = {"name": "helm", "workingDirectory": "/tmp", "script": script, **more}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return json.loads(client.ask("POST", f"/compute/{SYSTEM}/jobs", {"job": job}, headers=headers.items()))["jobId"]


def wait(client, job, states):
    for _ in range(240):
        now = client.get(f"/compute/{SYSTEM}/jobs/{job}")["jobs"][0]["status"]
        if now["state"] in states:
            return now
        time.sleep(0.25)
    raise SystemExit(f"{job} is {now} after a minute, not {states}")


def work(url):
    client = Client(url)
    job = submit(client, "#!/bin/sh\necho hello from $GOLDCREST_JOB_ID\n")
    ended = wait(client, job, ("COMPLETED", "FAILED"))
    assert ended["state"] == "COMPLETED", ended
    said = client.ask("GET", f"/compute/{SYSTEM}/jobs/{job}/logs")
    assert said == f"hello from {job}\n".encode(), said
    assert "hello" in client.get(f"/compute/{SYSTEM}/jobs/{job}/metadata")["jobs"][0]["script"]
    listed = [each["jobId"] for each in client.get(f"/compute/{SYSTEM}/jobs")["jobs"]]
    assert job in listed, listed
    print(f"the job {job} ran and said so", flush=True)
    running = submit(client, "#!/bin/sh\nsleep 300\n")
    wait(client, running, ("RUNNING",))
    attached = client.ask("PUT", f"/compute/{SYSTEM}/jobs/{running}/attach?output=true", {"command": "id -u"})
    assert b"1000" in attached, attached
    client.ask("DELETE", f"/compute/{SYSTEM}/jobs/{running}")
    wait(client, running, ("CANCELLED",))
    for path in ("nodes", "partitions", "limits"):
        client.get(f"/status/{SYSTEM}/{path}")
    print("another was attached to and cancelled", flush=True)


def load(url, stop):
    def ask(number):
        client, count = Client(url), 0
        paths = ["/status/liveness/", f"/compute/{SYSTEM}/jobs", "/status/systems"]
        while not stop.exists():
            client.ask("GET", paths[(number + count) % len(paths)])
            count += 1
            if number % 2:
                client.close()
            time.sleep(0.01)
        return count

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(f"{sum(pool.map(ask, range(8)))} requests, 0 failed", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2])
    else:
        load(sys.argv[2], pathlib.Path(sys.argv[3]))
