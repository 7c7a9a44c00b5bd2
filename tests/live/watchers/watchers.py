"""Clients that watch the jobs of a real Slurm while it is disturbed: see run.sh.

Each phase prints one line of figures and ends the run with an error where something was missed. Only processes of this run are killed: the Goldcrest
that it started, and the daemons of its own Slurm, by the process ids in their folder.
"""

import argparse
import asyncio
import collections
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

WATCHERS = 50
POLLERS = 1000
# The window in which queries are counted, in seconds, and how often a poller asks.
WINDOW = 30
POLL = 5
PUSHED = 8
# From the end of the script; Slurm itself takes a part of it.
MAX_PUSHED = 2.0


class Run:
    """The Goldcrest and the Slurm of this run."""

    def __init__(self, options):
        self.options, self.process, self.token_until, self.token_value = options, None, 0, ""
        self.lock = threading.Lock()

    def start(self, name):
        """Starts Goldcrest with one of the configurations."""
        with open(f"{self.options.folder}/goldcrest.log", "ab") as log:
            environment = os.environ | {"YAML_CONFIG_FILE": f"{self.options.folder}/{name}.yaml"}
            self.process = subprocess.Popen([self.options.binary, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.options.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        fail(f"goldcrest does not listen: {pathlib.Path(self.options.folder, 'goldcrest.log').read_text()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def token(self):
        with self.lock:
            if time.monotonic() > self.token_until:
                secret = pathlib.Path(os.environ["WATCHERS_SECRET_FILE"]).read_text().strip()
                body = {"grant_type": "client_credentials", "client_id": self.options.user, "client_secret": secret}
                with urllib.request.urlopen(os.environ["WATCHERS_TOKEN_URL"], urllib.parse.urlencode(body).encode(), timeout=10) as answer:
                    granted = json.load(answer)
                self.token_value, self.token_until = granted["access_token"], time.monotonic() + granted.get("expires_in", 120) / 2
            return self.token_value

    def request(self, method, path, body=None, headers=(), timeout=70):
        """The connection and the answer of a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.options.port, timeout=timeout)
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"} | dict(headers)
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        return connection, connection.getresponse()

    def call(self, method, path, body=None):
        connection, answer = self.request(method, path, body)
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            fail(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content) if content else None

    def submit(self, script, **more):
        job = {"name": "watched", "workingDirectory": f"/home/{self.options.user}", "standardOutput": "/dev/null", "script": script}
        return self.call("POST", "/compute/slurm/jobs", {"job": job | more.pop("job", {})} | more)["jobId"]

    def slurm(self, *command):
        """A command of its Slurm, as root."""
        configuration = f"{self.options.folder}/slurm/22.05/etc/slurm.conf"
        return subprocess.run(command, env=os.environ | {"SLURM_CONF": configuration}, check=True, capture_output=True, text=True, timeout=60).stdout

    def daemon(self, name):
        return int(pathlib.Path(f"{self.options.folder}/slurm/22.05/run/{name}.pid").read_text().split()[0])

    def restart(self, name, kind, pause):
        """Ends a daemon of its Slurm and starts it again after a while."""
        os.kill(self.daemon(name), kind)
        time.sleep(pause)
        subprocess.run([self.options.slurm, "22.05"], check=True, capture_output=True, timeout=180)


def fail(message):
    raise SystemExit(f"FAILED: {message}")


class Events(threading.Thread):
    """Reads server-sent events, and comes again after the last one where the connection ends."""

    def __init__(self, run, path, is_over=lambda events: False):
        super().__init__(daemon=True)
        self.owner, self.path, self.is_over = run, path, is_over
        self.events, self.last, self.has_ended, self.reconnects, self.stopped = [], None, False, -1, False
        self.opened = threading.Event()
        self.start()

    def run(self):
        while not self.stopped and not self.is_over(self.events):
            try:
                headers = {"Last-Event-ID": self.last} if self.last else {}
                connection, answer = self.owner.request("GET", self.path, headers=headers)
                if answer.status == 200:
                    self.reconnects += 1
                    self.read(answer)
                connection.close()
            except (OSError, http.client.HTTPException):
                pass
            if self.has_ended:
                return
            time.sleep(0.3)

    def read(self, answer):
        kind = None
        for line in answer:
            line = line.decode().rstrip("\n")
            if line.startswith("id: "):
                self.last = line[4:]
                self.opened.set()
            elif line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                if kind is None:
                    self.events.append((time.time(), json.loads(line[6:])))
                self.has_ended = self.has_ended or kind == "end"
            elif not line:
                kind = None
            if self.stopped or self.is_over(self.events):
                return

    def finals(self):
        """The final states that were told, by job."""
        found = collections.defaultdict(list)
        for at, event in list(self.events):
            if event["isFinal"]:
                found[event["jobId"]].append((at, event["state"]))
        return found


def wait_for(what, seconds, condition, explain=str):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    fail(f"{what}: not after {seconds} s {explain()}")


def push(run):
    """From the end of a job's script to the event, with an interval of 30 s."""
    run.start("push")
    all_jobs = Events(run, "/compute/slurm/jobs/events")
    wait_for("the events begin", 40, all_jobs.opened.is_set)
    delays = []
    # slurmctld sends nothing in the half minute after it was started: the first job is not counted.
    for number in range(PUSHED + 1):
        mark = f"/tmp/goldcrest-watchers-{os.getpid()}-{number}"
        job = run.submit(f"#!/bin/sh\nsleep 1\ndate +%s.%N >{mark}\n")
        wait_for(f"the end of job {job}", 60, lambda job=job: all_jobs.finals().get(job))
        ended = float(pathlib.Path(mark).read_text())
        pathlib.Path(mark).unlink()
        delays.append(all_jobs.finals()[job][0][0] - ended)
        # Not in step with the interval.
        time.sleep(0.7 * number)
    all_jobs.stopped = True
    run.stop()
    delays = delays[1:]
    shown = " ".join(f"{delay:.2f}" for delay in delays)
    print(f"push: from the end of the script to the event {shown} s, median {statistics.median(delays):.2f} s; the interval is 30 s", flush=True)
    if max(delays) > MAX_PUSHED:
        fail(f"the slowest is over {MAX_PUSHED} s")


def rpcs(run):
    """What the controller and accounting were asked so far."""
    controller = sum(int(count) for count in re.findall(r"REQUEST_JOB_\w*INFO\w* .*?count:(\d+)", run.slurm("sdiag")))
    accounting = re.search(r"DBD_GET_JOBS_COND\s.*?count:(\d+)", run.slurm("sacctmgr", "show", "stats"))
    return controller, int(accounting.group(1)) if accounting else 0


async def poll(run, jobs, number, counted, end):
    """One client: half of them list, half of them wait for a job."""
    path = "/compute/slurm/jobs" if number % 2 else f"/compute/slurm/jobs/{jobs[number % len(jobs)]}?since=RUNNING"
    prefer = "" if number % 2 else f"Prefer: wait={POLL}\r\n"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {run.token()}\r\n{prefer}\r\n"
    await asyncio.sleep(number % 100 * POLL / 100)
    reader, writer = await asyncio.open_connection("127.0.0.1", run.options.port)
    while time.monotonic() < end:
        begun = time.monotonic()
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        counted[int(head.split(b" ")[1])] += 1
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length.group(1)))
        await asyncio.sleep(max(0, POLL - (time.monotonic() - begun)))
    writer.close()


def pollers(run):
    """The queries in the same time with one client and with many."""
    run.start("plain")
    jobs = [run.submit("#!/bin/sh\nsleep 600\n") for _ in range(4)]
    wait_for("the jobs run", 60, lambda: run.slurm("squeue", "--noheader", "--states=R").count("\n") >= len(jobs))
    # It keeps the jobs under observation in both windows.
    watcher = Events(run, "/compute/slurm/jobs/events")
    wait_for("the events begin", 40, watcher.opened.is_set)
    rows = []
    for clients in (1, POLLERS):
        counted, before, begun = collections.Counter(), rpcs(run), time.monotonic()

        async def crowd(clients=clients, counted=counted, begun=begun):
            await asyncio.gather(*(poll(run, jobs, number, counted, begun + WINDOW) for number in range(clients)))

        asyncio.run(crowd())
        seconds, after = time.monotonic() - begun, rpcs(run)
        rows.append((clients, sum(counted.values()), [count - start for start, count in zip(before, after)], seconds))
        if set(counted) != {200}:
            fail(f"{clients} pollers were answered {dict(counted)}")
    watcher.stopped = True
    run.slurm("scancel", f"--user={run.options.user}")
    run.stop()
    for clients, requests, (controller, accounting), seconds in rows:
        print(f"pollers: {clients} clients, {requests} requests in {seconds:.0f} s: {controller} job queries of slurmctld, {accounting} of slurmdbd", flush=True)
    (_, _, one, first), (_, _, many, second) = rows
    for few, lots in zip(one, many):
        # One query more, or the longer time.
        if lots > few * second / first * 1.25 + 2:
            fail(f"{POLLERS} pollers cost {many}, one {one}")


def restarts(run):
    """Each of many watchers is told the end of its job, whatever restarts meanwhile."""
    run.start("plain")
    everything = Events(run, "/compute/slurm/jobs/events")
    wait_for("the events begin", 40, everything.opened.is_set)
    endings = ["true", "exit 3", "kill -9 $$"]
    jobs = [run.submit(f"#!/bin/sh\nsleep {2 + number % 7}\n{endings[number % 3]}\n", job={"partition": "long"}) for number in range(WATCHERS)]
    watchers = {job: Events(run, f"/compute/slurm/jobs/{job}/events") for job in jobs}
    begun = time.monotonic()
    time.sleep(4)
    run.kill()
    run.start("plain")
    time.sleep(6)
    run.restart("slurmctld", signal.SIGTERM, 4)
    time.sleep(6)
    run.restart("slurmdbd", signal.SIGTERM, 6)
    time.sleep(4)
    run.kill()
    time.sleep(6)
    run.start("plain")
    run.restart("slurmctld", signal.SIGTERM, 3)
    end = time.monotonic() + 60
    while run.slurm("squeue", "--noheader") and time.monotonic() < end:
        time.sleep(1)
    # A controller that is restarted may forget that a job has ended.
    lost = run.slurm("squeue", "--noheader", "--format=%i").split()
    if lost:
        run.slurm("scancel", *lost)
    wait_for("all jobs have ended", 60, lambda: not run.slurm("squeue", "--noheader"), lambda: run.slurm("squeue") + run.slurm("sinfo"))
    ended = time.monotonic()
    wait_for("all watchers are told", 90, lambda: all(not watcher.is_alive() for watcher in watchers.values()))
    told = time.monotonic()
    wait_for("who watches all is told", 30, lambda: len(everything.finals()) >= len(jobs))
    everything.stopped = True
    accounted = dict(line.split("|")[:2] for line in run.slurm(
        "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={','.join(jobs)}").splitlines())
    wrong = []
    for job in jobs:
        expected = accounted[job].split(" ")[0]
        alone, among_all = ([state for _, state in source.finals().get(job, [])] for source in (watchers[job], everything))
        if alone != [expected] or among_all != [expected]:
            wrong.append(f"{job}: {expected} in accounting, told {alone}, to who watches all {among_all}")
    run.stop()
    reconnects = sum(watcher.reconnects for watcher in watchers.values()) + everything.reconnects
    print(f"restarts: {len(jobs) - len(wrong)} of {len(jobs)} ends told once and as accounting has them, {reconnects} reconnections, the last "
          f"{max(0, told - ended):.1f} s after the last job, in {told - begun:.0f} s; {len(lost)} ends were lost by slurmctld, and the jobs cancelled", flush=True)
    if wrong:
        fail("; ".join(wrong[:5]))


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps the messages to a webhook; the first attempt is refused."""

    seen = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((time.time(), self.headers["webhook-id"], body))
        self.send_response(503 if len(self.seen) == 1 else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def webhooks(run):
    """The end of a job is told to its webhook, over a restart of the proxy."""
    run.start("plain")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", run.options.port + 2), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{run.options.port + 2}/hook"
    states = ["COMPLETED", "FAILED"]
    job = run.submit("#!/bin/sh\nsleep 8\n", webhook={"url": url, "states": states})
    run.call("POST", "/compute/slurm/webhooks", {"url": url, "states": states})
    other = run.submit("#!/bin/sh\nsleep 9\nexit 1\n")
    time.sleep(3)
    run.kill()
    run.start("plain")
    expected = sorted([(job, "COMPLETED"), (job, "COMPLETED"), (other, "FAILED")])
    delivered = lambda: {identifier: body for _, identifier, body in Receiver.seen[1:]}
    wait_for("the messages come", 90, lambda: len(delivered()) >= len(expected))
    time.sleep(3)
    found = sorted((body["subject"], body["data"]["state"]) for body in delivered().values())
    counts = collections.Counter(identifier for _, identifier, _ in Receiver.seen[1:])
    run.stop()
    server.shutdown()
    print(f"webhooks: {len(found)} messages of {len(expected)}, {len(Receiver.seen)} attempts, of which one was refused", flush=True)
    if found != expected or max(counts.values()) > 1:
        fail(f"{found} instead of {expected}, {dict(counts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--binary", "--folder", "--user", "--slurm"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    phases = {"push": push, "pollers": pollers, "restarts": restarts, "webhooks": webhooks}
    parser.add_argument("phases", nargs="+", choices=list(phases))
    options = parser.parse_args()
    run = Run(options)
    try:
        for phase in options.phases:
            phases[phase](run)
    finally:
        if run.process and run.process.poll() is None:
            run.process.kill()


if __name__ == "__main__":
    sys.exit(main())
