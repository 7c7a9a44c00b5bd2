"""The steps of a user with kbatch's command line: configure, profiles, submit, list, show, pods, output, schedules, delete, and what is refused.

A second user tries to reach what the first has. At the end nothing of the jobs is left in Kubernetes.
"""

import argparse
import json
import os
import re
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 90


def main():
    parser = argparse.ArgumentParser()
    for name in ["release", "program", "url", "image", "kubernetes"]:
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Steps(options, Path(folder)).run()


class Steps:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.is_old = options.release.startswith("0.4.")
        self.cluster = Cluster(options.kubernetes)
        self.count = 0

    def run(self):
        begun = time.monotonic()
        for step in [
            self.configure,
            self.profiles,
            self.job_with_code_and_variables,
            self.output_as_it_is_written,
            self.job_of_a_profile,
            self.job_that_fails,
            self.image_that_cannot_be_had,
            self.schedule,
            self.what_is_refused,
            self.second_user,
            self.nothing_is_left,
        ]:
            step()
            self.count += 1
        print(f"kbatch {self.options.release}: {self.count} steps passed in {time.monotonic() - begun:.0f} s")

    # The client.

    def client(self, *words, user="first", succeeds=True, patience=PATIENCE):
        """Runs the command line as a user, each of whom has a configuration of their own; gives what it prints, on both streams if it is to fail."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / user),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "400",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        ended = subprocess.run([self.options.program, *words], env=environment, capture_output=True, text=True, timeout=patience)
        printed = f"kbatch {' '.join(words)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert (ended.returncode == 0) == succeeds, printed
        # Older releases print what they request among what they were asked for.
        output = re.sub(r"^(\[[0-9:]{8}\]| {10}) INFO +HTTP Request: .*\n", "", ended.stdout, flags=re.MULTILINE)
        return output if succeeds else output + ended.stderr

    def json(self, *words, **more):
        return json.loads(self.client(*words, **more))

    def submit(self, *words, kind="job", name="live", image=None):
        image = [] if image == "" else ["--image", image or self.options.image]
        return self.client(kind, "submit", "--name", name, *image, "-o", "name", *words).strip()

    def output(self, job, *more):
        """What a job has printed, by its name where the release can do that, and else by its pod's."""
        return self.client("pod", "logs", self.pod(job), *more) if self.is_old else self.client("job", "logs", job, *more)

    def pod(self, job):
        [pod] = self.json("pod", "list", "--job-name", job, "-o", "json")["items"]
        assert pod["status"]["phase"] and pod["metadata"]["creation_timestamp"].endswith("+00:00"), pod
        return pod["metadata"]["name"]

    def wait(self, job, count):
        """Waits until a count of the job's status is 1, and gives the job."""
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = self.json("job", "show", job)
            if shown["status"][count] == 1 and (count != "succeeded" or shown["status"]["completion_time"]):
                return shown
            assert time.monotonic() < deadline, f"{job} has not {count}: {shown['status']}"
            time.sleep(0.3)

    # The steps.

    def configure(self):
        self.client("configure", "--kbatch-url", self.options.url, "--token", "0123456789abcdef", succeeds=False)
        for user, variable in [("first", "KBATCH_TEST_TOKEN"), ("second", "KBATCH_TEST_OTHER_TOKEN")]:
            printed = self.client("configure", "--kbatch-url", self.options.url, "--token", os.environ[variable], user=user)
            assert "Wrote config" in printed, printed

    def profiles(self):
        profiles = self.json("profiles")
        assert profiles["larger"]["resources"] == {"limits": {"cpu": "1", "memory": "48Mi"}, "requests": {"cpu": "500m"}}, profiles

    def job_with_code_and_variables(self):
        code = self.folder / "project"
        (code / "data").mkdir(parents=True)
        (code / "main.sh").write_text("#!/bin/sh\ncat /code/data/words\necho \"word: $WORD\"\necho \"site: $SITE\"\necho \"image: $JUPYTER_IMAGE\"\n")
        (code / "data" / "words").write_text("first line\nsecond line\n")
        value = "it's $HOME, \"quoted\""
        job = self.submit(
            *["--command", json.dumps(["sh"]), "--args", json.dumps(["/code/main.sh"]), "--code", str(code), "--env", json.dumps({"WORD": value})],
        )
        assert re.fullmatch(r"live-[0-9a-f]+", job), job
        table = self.client("job", "list", "-o", "table")
        assert job in table, table
        shown = self.wait(job, "succeeded")
        assert value not in json.dumps(shown), "the value of a variable is in the job"
        printed = self.output(job)
        for line in ["first line", "second line", f"word: {value}", "site: here", f"image: {self.options.image}"]:
            assert line in printed.splitlines(), printed
        listed = self.json("job", "list", "-o", "json")
        assert job in [item["metadata"]["name"] for item in listed["items"]], listed
        assert "done" in self.line_of(job, self.client("job", "list", "-o", "table"))
        assert self.pod(job) in self.client("pod", "list", "-o", "table")
        assert self.output(job, "--stream").splitlines()[0] == "first line"
        # The hub's token is the user's, as kbatch-proxy gives it.
        secret = self.cluster.get(f"/api/v1/namespaces/kbatch-fireuser/secrets/{job}")
        assert "env.JUPYTERHUB_API_TOKEN" in secret["data"], list(secret["data"])
        self.delete("job", job)

    def output_as_it_is_written(self):
        script = "for i in 0 1 2 3 4 5; do echo line $i; sleep 0.3; done"
        job = self.submit("--command", json.dumps(["sh", "-c", script]))
        if self.is_old:
            # It follows pods alone.
            deadline = time.monotonic() + PATIENCE
            while not self.json("pod", "list", "--job-name", job, "-o", "json")["items"]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        printed = self.output(job, "--stream")
        lines = [line for line in printed.splitlines() if line]
        assert lines == [f"line {number}" for number in range(6)], printed
        self.wait(job, "succeeded")
        self.delete("job", job)

    def job_of_a_profile(self):
        command = ["--command", json.dumps(["true"])]
        if self.is_old:
            # This release fails by itself where a profile is named.
            self.client("job", "submit", "--name", "live", "--image", self.options.image, "--profile", "larger", *command, succeeds=False)
            return
        job = self.submit("--profile", "larger", *command, image="")
        shown = self.wait(job, "succeeded")
        assert shown["metadata"]["annotations"]["goldcrest/profile"] == "large", shown["metadata"]
        [container] = shown["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "48Mi"}, container
        # The site's template, which kbatch-proxy's own variable names.
        assert shown["spec"]["template"]["spec"]["active_deadline_seconds"] == 300, shown["spec"]
        self.delete("job", job)

    def job_that_fails(self):
        job = self.submit("--command", json.dumps(["sh", "-c", "echo to the end; exit 3"]))
        self.wait(job, "failed")
        assert "failed" in self.line_of(job, self.client("job", "list", "-o", "table"))
        assert "to the end" in self.output(job)
        self.delete("job", job)

    def image_that_cannot_be_had(self):
        begun = time.monotonic()
        job = self.submit("--command", json.dumps(["true"]), image="registry.test/none:1")
        shown = self.wait(job, "failed")
        assert time.monotonic() - begun < 45, "it waited"
        reasons = [condition["message"] for condition in shown["status"]["conditions"] or [] if condition["type"] == "Failed"]
        assert not reasons or "registry.test/none:1" in reasons[0], shown["status"]
        assert "failed" in self.line_of(job, self.client("job", "list", "-o", "table"))
        self.delete("job", job)

    def schedule(self):
        code = self.folder / "single.sh"
        code.write_text("echo from a schedule\n")
        command = ["--command", json.dumps(["true"]), "--code", str(code), "--schedule", "0 3 * * *"]
        name = self.submit(*command, kind="cronjob", name="nightly")
        assert name.startswith("nightly"), name
        shown = self.json("cronjob", "show", name)
        assert shown["spec"]["schedule"] == "0 3 * * *" and shown["metadata"]["creation_timestamp"].endswith("+00:00"), shown
        assert name in self.client("cronjob", "list", "-o", "table")
        assert name in [item["metadata"]["name"] for item in self.json("cronjob", "list", "-o", "json")["items"]]
        self.delete("cronjob", name)
        wrong = ["--image", self.options.image, "--command", json.dumps(["true"]), "--schedule", "never"]
        refused = self.client("cronjob", "submit", "--name", "wrong", *wrong, succeeds=False)
        assert "expected exactly 5 fields" in refused.replace("\n", " "), refused

    def what_is_refused(self):
        large = self.folder / "large.bin"
        large.write_bytes(os.urandom(150_000))
        command = ["--name", "refused", "--command", json.dumps(["true"])]
        for words, text in [
            (["job", "show", "none"], 'jobs.batch "none" not found'),
            (["job", "delete", "none"], 'jobs.batch "none" not found'),
            (["cronjob", "show", "none"], 'cronjobs.batch "none" not found'),
            (["job", "submit", *command, "--image", "evil.test/a:1"], "is not among those that this system allows"),
            (["job", "submit", *command, "--image", self.options.image, "--code", str(large)], "at most 100000"),
        ]:
            refused = self.client(*words, succeeds=False)
            one_line = " ".join(refused.replace('\\"', '"').replace("\\'", "'").split())
            assert text in one_line, refused
            assert self.is_old or "kbatch-proxy error " in refused, refused
        names = [item["metadata"]["name"] for item in self.json("job", "list", "-o", "json")["items"]]
        assert not any(name.startswith("refused") for name in names), names

    def second_user(self):
        job = self.submit("--command", json.dumps(["sh", "-c", "echo s3cret words; sleep 60"]), name="private")
        self.wait_for_pod(job)
        pod = self.pod(job)
        schedule = self.submit("--command", json.dumps(["true"]), "--schedule", "0 3 * * *", kind="cronjob", name="private")
        # The second user has a namespace too.
        own = self.client("job", "submit", "--name", "own", "--image", self.options.image, "--command", json.dumps(["true"]), "-o", "name", user="second")
        tries = [["job", "show", job], ["job", "delete", job], ["cronjob", "show", schedule], ["cronjob", "delete", schedule], ["pod", "logs", pod]]
        if not self.is_old:
            tries.append(["job", "logs", job])
        for words in tries:
            refused = self.client(*words, user="second", succeeds=False)
            assert "404" in refused and "s3cret" not in refused, refused
        for words in [["job", "list"], ["cronjob", "list"], ["pod", "list"], ["pod", "list", "--job-name", job]]:
            listed = self.client(*words, "-o", "json", user="second")
            assert not any(name in listed for name in [job, schedule, pod]), listed
        self.delete("job", own.strip(), user="second")
        self.delete("cronjob", schedule)
        self.delete("job", job)

    def nothing_is_left(self):
        """Secrets are removed with what they belong to."""
        deadline = time.monotonic() + PATIENCE
        for user in ["fireuser", "otheruser"]:
            for path in ["/apis/batch/v1/namespaces/{}/jobs", "/apis/batch/v1/namespaces/{}/cronjobs", "/api/v1/namespaces/{}/secrets"]:
                path = path.format(f"kbatch-{user}")
                while left := [item["metadata"]["name"] for item in self.cluster.get(path)["items"]]:
                    assert time.monotonic() < deadline, f"{path}: {left}"
                    time.sleep(0.5)

    def wait_for_pod(self, job):
        deadline = time.monotonic() + PATIENCE
        while not self.json("pod", "list", "--job-name", job, "-o", "json")["items"]:
            assert time.monotonic() < deadline, f"{job} has no pod"
            time.sleep(0.2)

    def delete(self, kind, name, user="first"):
        self.client(kind, "delete", name, user=user)
        self.client(kind, "show", name, user=user, succeeds=False)

    @staticmethod
    def line_of(name, table):
        return next(line for line in table.splitlines() if name in line)


class Cluster:
    """The API server, as its administrator."""

    def __init__(self, coordinates):
        coordinates = json.loads(Path(coordinates).read_text())
        self.url = coordinates["url"]
        self.token = Path(coordinates["adminTokenFile"]).read_text().strip()
        self.trust = ssl._create_unverified_context()

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, context=self.trust, timeout=10) as answer:
            return json.load(answer)


if __name__ == "__main__":
    main()
