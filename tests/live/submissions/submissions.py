"""Submissions that are disturbed at random moments, each of which has to become one job: see run.sh.

Each submission has a name and a key of its own. One thing is killed while its request is under way:

  proxy       the replica that has the request (SIGKILL); it is started again at once
  connection  the processes of sshd that serve one of its connections
  shell       a shell below them
  sbatch      an sbatch below them, which is waited for; a qsub with PBS, and with the local scheduler, which has no program for it, a shell

With Kubernetes, they are the replica, the connections to the API server (cut in a relay), and the API server itself, which is started again.

Nothing else is killed: the connections are those of the replicas' own sockets, and shells and sbatch are found below the processes of sshd that
have the other end.
"""

import argparse
import collections
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid

KINDS = ("proxy", "connection", "shell", "sbatch")
KINDS_OF_KUBERNETES = ("proxy", "connection", "server")
WORKERS = 4
# The longest that one submission is tried, and that a victim is waited for, in seconds.
PATIENCE = 180
VICTIM_PATIENCE = 1.5
# A request is disturbed within the time that one takes, and a little more. This is how long one takes before any was answered, in seconds.
USUAL = 0.3
LATEST = 1.2
# So many submissions show that each kind of disturbance is met.
ENOUGH = 100
TAG = re.compile(r"goldcrest-submission=\S+")
# The program that submits.
PROGRAMS = {"slurm": "sbatch", "pbs": "qsub"}
# What tells the jobs of a scheduler other than Slurm, a line each: the id, the tag, and a text with the name.
JOBS = {
    "local": "cd ~/.local/state/goldcrest/jobs && for job in [0-9]*; do "
             "if [ -e $job/status ] && [ -e $job/submission ]; then echo $job $(cat $job/submission) $(cat $job/parameters); fi; done",
    "pbs": "cd ~/pbs && for job in [0-9]*; do if [ -e $job/letter ]; then "
           "echo $job $(sed -n 's/.*PBS_GOLDCREST_SUBMISSION=//p' $job/attributes) $(grep Job_Name $job/attributes); fi; done",
}


class Processes:
    """What /proc says of processes and sockets. What ends meanwhile is left out."""

    @staticmethod
    def comm(pid):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""

    @classmethod
    def named(cls, names):
        """The processes of these names."""
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and cls.comm(entry) in names]

    @staticmethod
    def is_submitting(pid, program):
        """Whether it is this program: by itself, as a script, or started by a loader."""
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
        except OSError:
            return False
        return program in [os.path.basename(word) for word in words[:2]] or words[1:3] == ["--argv0", program]

    @staticmethod
    def is_played(pid):
        """Whether it is the server of the PBS that is played (qsub.sh), which the clients of a real one do not have below them."""
        try:
            return b"GOLDCREST_QSUB=" in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    @staticmethod
    def parent(pid):
        try:
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            return 0

    @staticmethod
    def sockets(pid):
        """The inodes of its sockets."""
        found = set()
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(entry.path)
                except OSError:
                    continue
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
        except OSError:
            pass
        return found

    @staticmethod
    def connections():
        """The established TCP connections: local port, remote port and inode of each end that is here."""
        found = []
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "01":
                found.append((int(fields[1].rsplit(":", 1)[1], 16), int(fields[2].rsplit(":", 1)[1], 16), int(fields[9])))
        return found

    @classmethod
    def sessions(cls, pid, port):
        """The processes of sshd at the other end of the connections of `pid` to `port`, a set for each."""
        own, connections = cls.sockets(pid), cls.connections()
        ours = {local for local, remote, inode in connections if inode in own and remote == port}
        theirs = {inode: remote for local, remote, inode in connections if local == port and remote in ours}
        found = collections.defaultdict(set)
        for candidate in cls.named(("sshd", "sshd-session")):
            for inode in cls.sockets(candidate) & theirs.keys():
                found[theirs[inode]].add(candidate)
        return list(found.values())

    @classmethod
    def is_below(cls, pid, ancestors):
        while pid > 1 and pid not in ancestors:
            pid = cls.parent(pid)
        return pid in ancestors


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


class Replica:
    """A Goldcrest of ours, which is started again when it was killed."""

    def __init__(self, options, number):
        self.options, self.number, self.address = options, number, ("127.0.0.1", options.port + number)
        self.lock, self.process, self.kills = threading.Lock(), None, 0
        self.start()

    def start(self):
        with open(f"{self.options.folder}/{self.number}.log", "ab") as log:
            environment = os.environ | {"YAML_CONFIG_FILE": f"{self.options.folder}/{self.number}.yaml"}
            self.process = subprocess.Popen([self.options.binary, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(self.address, timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"replica {self.number} does not listen; see {self.options.folder}/{self.number}.log")

    def kill(self):
        with self.lock:
            self.process.kill()
            self.process.wait()
            self.kills += 1
            self.start()
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Relay:
    """Carries connections to the API server of Kubernetes, and cuts them."""

    def __init__(self, port, target):
        self.target, self.lock, self.open = target, threading.Lock(), set()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self.lock:
                self.open.add((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, sink, (near, far)), daemon=True).start()

    def carry(self, source, sink, pair):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        self.end(pair)

    def end(self, pair):
        with self.lock:
            self.open.discard(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Whether there was a connection."""
        with self.lock:
            pairs = list(self.open)
        for pair in pairs:
            self.end(pair)
        return bool(pairs)


class ApiServer:
    """The API server of Kubernetes, which is started again when it was killed."""

    def __init__(self, options):
        self.start = [f"{options.environment}/kubernetes/start.sh"]
        self.facts, self.lock = json.loads(pathlib.Path(options.kubernetes).read_text()), threading.Lock()

    def kill(self):
        with self.lock:
            killed = kill(int(pathlib.Path(self.facts["apiServerPidFile"]).read_text()))
            subprocess.run(self.start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            return killed

    def jobs(self, user):
        """The Jobs in the namespace of a user."""
        token = pathlib.Path(self.facts["adminTokenFile"]).read_text().strip()
        request = urllib.request.Request(f"{self.facts['url']}/apis/batch/v1/namespaces/goldcrest-{user}/jobs", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as answer:
            return json.load(answer)["items"]

    def remove(self, user, job):
        """Removes a Job of a user, with its pods."""
        token = pathlib.Path(self.facts["adminTokenFile"]).read_text().strip()
        address = f"{self.facts['url']}/apis/batch/v1/namespaces/goldcrest-{user}/jobs/{job}?propagationPolicy=Background"
        request = urllib.request.Request(address, method="DELETE", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as answer:
            answer.read()


class Token:
    """The caller's token, which is renewed before it ends."""

    def __init__(self, user):
        self.user, self.lock, self.until, self.value = user, threading.Lock(), 0, ""

    def get(self):
        with self.lock:
            if time.monotonic() > self.until:
                secret = pathlib.Path(os.environ["SUBMISSIONS_SECRET_FILE"]).read_text().strip()
                body = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": self.user, "client_secret": secret})
                with urllib.request.urlopen(os.environ["SUBMISSIONS_TOKEN_URL"], body.encode(), timeout=10) as answer:
                    granted = json.load(answer)
                self.value, self.until = granted["access_token"], time.monotonic() + granted.get("expires_in", 120) / 2
            return self.value


class Submission:
    """One submission, from its first request to its answer."""

    def __init__(self, run, number, choices):
        self.run, self.number = run, number
        self.system = list(run.systems)[number % len(run.systems)]
        # One kind after the other: where replicas are killed all the time, there are few shells.
        self.kind = run.kinds[number * len(run.kinds) // run.options.count]
        self.program = PROGRAMS.get(run.types[self.system])
        # Every other one of each kind and system is sent again to the other replica too.
        self.changes = number // len(run.systems) % 2 == 1
        self.name, self.key = f"{run.name}-{number}", str(uuid.UUID(int=choices.getrandbits(128), version=4))
        self.first, self.moment, self.pick = choices.randrange(2), choices.uniform(0, LATEST), choices.random()
        self.hit, self.attempts, self.repeated, self.id, self.failure = False, 0, False, None, None

    def record(self):
        """The name of its record on the cluster, as src/service/idempotency.rs makes it."""
        parts = (part.encode() for part in (self.run.options.user, self.system, self.key))
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]

    def replica(self, attempt):
        return self.run.replicas[(self.first + (attempt if self.changes else 0)) % 2]

    def disturb(self):
        replica, moment = self.replica(0), time.monotonic() + self.moment * self.run.usual()
        if self.kind == "proxy":
            time.sleep(max(0, moment - time.monotonic()))
            self.hit = replica.kill()
            return
        if self.run.server:
            time.sleep(max(0, moment - time.monotonic()))
            self.hit = self.run.server.kill() if self.kind == "server" else self.run.relay.cut()
            return
        end, sessions, before = time.monotonic() + VICTIM_PATIENCE, [], set(os.listdir("/proc"))
        while not self.hit and time.monotonic() < end and self.id is None:
            sessions = sessions or Processes.sessions(replica.process.pid, self.run.systems[self.system])
            victims = self.victims(sessions, before) if sessions else []
            if victims:
                # An sbatch is there for a moment that is random itself.
                time.sleep(max(0, moment - time.monotonic()) if self.kind != "sbatch" else self.moment * 0.002)
                self.hit = any([kill(pid) for pid in victims[int(self.pick * len(victims))]])
            if not self.hit and self.kind != "sbatch":
                time.sleep(0.01)
                sessions = []

    def victims(self, sessions, before):
        """What can be killed, a list of processes for each choice; of sbatch what was not there before."""
        if self.kind == "connection":
            return [sorted(session) for session in sessions]
        if self.kind == "shell" or self.program is None:
            found = Processes.named(("sh", "dash", "bash"))
        else:
            found = [int(entry) for entry in os.listdir("/proc") if entry not in before and entry.isdigit() and Processes.is_submitting(entry, self.program)]
            # A script in the place of a program is one process too: it is killed as a whole.
            found = [pid for pid in found if not Processes.is_submitting(Processes.parent(pid), self.program)]
        servers = set().union(*sessions)
        return [[pid] for pid in sorted(found) if Processes.is_below(pid, servers) and not Processes.is_played(pid)]

    def send(self, attempt):
        script = "#!/bin/sh\ntrue\n"
        job = {"name": self.name, "workingDirectory": f"/home/{self.run.options.user}", "script": script}
        if not self.run.server:
            job["standardOutput"] = "/dev/null"
        headers = {"Authorization": f"Bearer {self.run.token.get()}", "Content-Type": "application/json", "Idempotency-Key": self.key}
        connection = http.client.HTTPConnection(*self.replica(attempt).address, timeout=70)
        try:
            connection.request("POST", f"/compute/{self.system}/jobs", json.dumps({"job": job}), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def drive(self):
        disturbing = threading.Thread(target=self.disturb)
        disturbing.start()
        end = time.monotonic() + PATIENCE
        while self.id is None and self.failure is None:
            pause, begun = 0.2, time.monotonic()
            try:
                status, headers, body = self.send(self.attempts)
                if status == 201:
                    self.run.times.append(time.monotonic() - begun)
                    self.id, self.repeated = json.loads(body)["jobId"], headers.get("Idempotency-Key-Reply") == "hit"
                elif status in (400, 401, 403, 404, 422):
                    self.failure = f"{status}: {body[:300]!r}"
                else:
                    pause = min(float(headers.get("Retry-After") or pause), 15)
            except (OSError, http.client.HTTPException):
                pass
            self.attempts += 1
            if self.id is None and self.failure is None:
                if time.monotonic() > end:
                    self.failure = f"not answered within {PATIENCE} s"
                time.sleep(pause)
        disturbing.join()


class Run:
    """All submissions, and what became of them."""

    def __init__(self, options):
        self.options = options
        self.systems, self.types = {}, {}
        for name, port, scheduler in (system.split("=") for system in options.system):
            self.systems[name], self.types[name] = int(port), scheduler
        self.server = ApiServer(options) if options.kubernetes else None
        self.relay = Relay(*self.systems.values(), ("127.0.0.1", self.server.facts["port"])) if self.server else None
        self.kinds = KINDS_OF_KUBERNETES if self.server else KINDS
        self.name = f"once-{os.getpid()}-{int(time.time())}"
        self.seed = int(os.environ.get("SUBMISSIONS_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {self.seed}", flush=True)
        choices = random.Random(self.seed)
        self.token, self.replicas, self.times = Token(options.user), [], collections.deque(maxlen=20)
        self.submissions = [Submission(self, number, choices) for number in range(options.count)]

    def usual(self):
        """How long a request takes that is answered with a job, in seconds."""
        return statistics.median(list(self.times) or [USUAL])

    def submit(self):
        waiting, lock = iter(self.submissions), threading.Lock()

        def work():
            while True:
                with lock:
                    submission = next(waiting, None)
                if submission is None:
                    return
                submission.drive()
                if submission.number % 25 == 24:
                    print(f"{submission.number + 1} submissions begun", flush=True)

        try:
            for number in range(2):
                self.replicas.append(Replica(self.options, number))
            workers = [threading.Thread(target=work) for _ in range(WORKERS)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            for replica in self.replicas:
                replica.stop()

    def on_cluster(self, system, command):
        options = self.options
        line = ["ssh", "-i", options.key, "-p", str(self.systems[system]), "-o", f"UserKnownHostsFile={options.known_hosts}", "-o", "BatchMode=yes",
                f"{options.user}@127.0.0.1", command]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=120).stdout

    def jobs(self, system):
        """The jobs of this run that the queue and accounting have: ids and the tags of their records, by name."""
        found = collections.defaultdict(lambda: collections.defaultdict(set))
        if self.server:
            for job in self.server.jobs(self.options.user):
                notes = job["metadata"].get("annotations", {})
                if notes.get("goldcrest/name", "").startswith(f"{self.name}-"):
                    found[notes["goldcrest/name"]][job["metadata"]["name"]].add(notes.get("goldcrest/request"))
            return found
        if self.types[system] != "slurm":
            for line in self.on_cluster(system, JOBS[self.types[system]]).splitlines():
                job, tag, text = (line.split(" ", 2) + ["", ""])[:3]
                name = re.search(rf"{self.name}-\d+", text)
                if name:
                    found[name.group()][job].add(tag)
            return found
        queued = self.on_cluster(system, "squeue --noheader --all --states=all --me --format='%A|%j|%k'")
        listed = self.on_cluster(system, "sacct --noheader --parsable2 --allocations --duplicates --starttime=now-3hours --format=JobID,JobName,SubmitLine")
        for line in queued.splitlines() + listed.splitlines():
            number, name, text = (line.split("|", 2) + ["", ""])[:3]
            if name.strip().startswith(f"{self.name}-"):
                found[name.strip()][number.strip()].update(TAG.findall(text))
        return found

    def check(self):
        """Waits until accounting has every job, and compares."""
        found = {}
        for system in self.systems:
            expected = {submission.name for submission in self.submissions if submission.system == system and submission.id}
            end = time.monotonic() + 60
            while True:
                found[system] = self.jobs(system)
                if expected <= found[system].keys() or time.monotonic() > end:
                    break
                time.sleep(2)
        tags = collections.Counter(tag for jobs in found.values() for ids in jobs.values() for tag in set().union(*ids.values()))
        for submission in self.submissions:
            ids = found[submission.system].get(submission.name, {})
            known = set().union(*ids.values()) if ids else set()
            if submission.failure is None and list(ids) != [str(submission.id)]:
                submission.failure = f"answered with job {submission.id}, and there are {sorted(ids)}"
            elif submission.failure is None and (len(known) != 1 or tags[next(iter(known))] != 1):
                submission.failure = f"job {submission.id} has the records {sorted(known)}"

    def remove(self):
        """Removes what this run has left in the home directory of its user, or in the user's namespace."""
        if self.server:
            for job in {job for jobs in self.jobs(None).values() for job in jobs}:
                self.server.remove(self.options.user, job)
            return
        for system, kind in self.types.items():
            records = [submission.record() for submission in self.submissions if submission.system == system]
            for some in (records[at:at + 200] for at in range(0, len(records), 200)):
                self.on_cluster(system, f"cd ~/.goldcrest/submit 2>/dev/null || exit 0; for name in {' '.join(some)}; do rm -rf -- $name.*; done")
            if kind == "local":
                self.on_cluster(system, f"cd ~/.local/state/goldcrest/jobs 2>/dev/null || exit 0; grep -l -s -F '{self.name}-' */parameters | "
                                        "while IFS=/ read -r job file; do rm -rf -- \"$job\"; done")

    def report(self):
        print(f"{'system':10} {'killed':12} {'submissions':>11} {'hit':>5} {'requests':>9} {'by an earlier one':>18} {'failed':>7}")
        for system in self.systems:
            for kind in self.kinds:
                of_kind = [each for each in self.submissions if (each.system, each.kind) == (system, kind)]
                print(f"{system:10} {kind:12} {len(of_kind):11} {sum(each.hit for each in of_kind):5} {sum(each.attempts for each in of_kind):9} "
                      f"{sum(each.repeated for each in of_kind):18} {sum(each.failure is not None for each in of_kind):7}")
        failed = [each for each in self.submissions if each.failure]
        for each in failed:
            print(f"{each.name} on {each.system}, {each.kind} killed, key {each.key}: {each.failure}")
        missed = [kind for kind in self.kinds if not any(each.hit for each in self.submissions if each.kind == kind)]
        for kind in missed:
            print(f"not one was hit by killing: {kind}")
        print(f"submissions: {len(self.submissions) - len(failed)} passed, {len(failed)} failed", flush=True)
        # A few may all be answered before something can be killed.
        return not failed and (not missed or len(self.submissions) < ENOUGH)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "folder", "user", "key", "known-hosts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--system", action="append", required=True, help="NAME=SSH_PORT=SCHEDULER; with Kubernetes, the port of the relay")
    parser.add_argument("--kubernetes", help="the coordinates of the Kubernetes node")
    parser.add_argument("--environment", help="the folder of the programs that start it")
    # An sbatch is there for some milliseconds alone.
    sys.setswitchinterval(0.0002)
    run = Run(parser.parse_args())
    # What is left behind is removed however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        run.submit()
        run.check()
        passed = run.report()
    finally:
        run.remove()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
