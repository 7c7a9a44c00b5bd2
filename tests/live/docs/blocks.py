"""Runs the code blocks of the pages.

The language of a block decides what happens to it:

  bash, sh   runs in a shell. All such blocks of a page are one session: variables and the directory stay.
  console    the lines behind `$ ` run in the same way; the other lines are output, and are not compared.
  python     runs in one interpreter for the page.
  yaml       is a part of a configuration: it is put into a working one, which `goldcrest check-config --strict` has to accept.
  json       has to be JSON: one document, or one on each line.
  text, ini  is only shown.

Words behind the language:

  norun="reason"   it is not run; its syntax is checked all the same.
  live             it runs against the live environment instead of the demonstration.
  in=PLACE         (yaml) the section that the block is a part of, such as auth, clusters[0] or clusters[0].ssh.
  continues        (yaml) it is put into the result of the block before it.
  warns            (yaml) warnings are expected.
  values           (yaml) values of the Helm chart; the member `config` is the configuration.
  any other        the name of the session, for pages with more than one.

A page can have a script in pages/ that makes the files that its examples expect. Blocks that are indented instead of fenced, and
languages without an entry here, are failures. Every block of broken.md has to fail.
"""

import ast
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
WORK = pathlib.Path(os.environ["DOCS_WORK"])
SHELLS, SHOWN = ("bash", "sh", "console"), ("text", "ini")
LANGUAGES = (*SHELLS, *SHOWN, "python", "yaml", "json")
TIMEOUT = 120


@dataclass
class Block:
    page: pathlib.Path
    line: int
    language: str
    words: dict
    lines: list = field(default_factory=list)

    @property
    def place(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    @property
    def session(self):
        """Blocks with the same key run together."""
        language = "shell" if self.language in SHELLS else self.language
        names = [word for word in self.words if word not in ("norun", "live")]
        return (self.page, language, "live" in self.words, " ".join(names))


@dataclass(frozen=True)
class Target:
    """A running Goldcrest, and where on it the examples work."""

    url: str
    token: str
    token_url: str
    client_id: str
    client_secret: str
    system: str
    home: str
    scratch: str


class Failures(list):
    def add(self, place, text):
        self.append(place)
        print(f"FAILED {place}\n{text.rstrip()}\n", flush=True)


def read_blocks(page, failures):
    """The fenced blocks of a page, in order."""
    blocks, fence, before, in_list = [], None, "", False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        opening = re.match(r"( *)(`{3,})(.*)$", line)
        if fence is None and opening:
            fence, info = opening[2], shlex.split(opening[3])
            indent = len(opening[1])
            words = dict(word.partition("=")[::2] for word in info[1:])
            blocks.append(Block(page, number, info[0] if info else "", words))
        elif fence and line.strip() == fence:
            fence = None
        elif fence:
            blocks[-1].lines.append(line[indent:] if not line[:indent].strip() else line)
        else:
            in_list = in_list if line.startswith(" ") or not line else bool(re.match(r"[-*] |\d+\. ", line))
            if line.startswith("    ") and not before and not in_list:
                failures.add(f"{page.relative_to(ROOT)}:{number}", "a code block without a fence")
        before = line
    return blocks


def check_syntax(block):
    """Raises where the block cannot be read in its language."""
    if block.language not in LANGUAGES:
        raise ValueError(f"unknown language {block.language!r}")
    if "norun" in block.words and not block.words["norun"]:
        raise ValueError("norun needs a reason")
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.text))
    elif block.language == "json":
        read_json(block.text)
    elif block.language in SHELLS:
        script = "\n".join(shell_lines(block))
        if not script.strip():
            raise ValueError("no command in it")
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        if checked.returncode:
            raise ValueError(checked.stderr)


def read_json(text):
    try:
        json.loads(text)
    except ValueError:
        for document in re.split(r"\n(?=\{)", text.strip()):
            json.loads(document)


def shell_lines(block):
    """The commands of a block; of a console, those behind the prompt. Each line stays on its line."""
    if block.language != "console":
        return block.lines
    commands, continued = [], False
    for line in block.lines:
        command = line[2:] if line.startswith("$ ") else line if continued else ""
        continued = bool(command) and (line.startswith("$ ") or continued) and (line.endswith("\\") or open_quote(command))
        commands.append(command)
    return commands


def open_quote(line):
    return line.replace("'\\''", "").count("'") % 2 == 1


def on_their_lines(blocks):
    """The text of a session in which each line has the number that it has on the page."""
    lines = []
    for block in blocks:
        lines += [""] * (block.line - len(lines))
        lines += shell_lines(block) if block.language in SHELLS else block.lines
    return "\n".join(lines) + "\n"


def for_target(text, target):
    """The addresses and names of the pages, replaced by those of the target."""
    for name, value in {
        "https://goldcrest.example.org": target.url,
        "https://id.example.org/token": target.token_url,
        "YOUR-CLIENT-ID": target.client_id,
        "YOUR-CLIENT-SECRET": target.client_secret,
        "/scratch/ada": target.scratch,
        "/home/ada": target.home,
        "/etc/ssh/": f"{WORK}/ssh/",
    }.items():
        text = text.replace(name, value)
    return re.sub(r"\bdaint\b", target.system, text)


def demonstration():
    line = json.loads(pathlib.Path(os.environ["DOCS_GREETING"]).read_text())
    home = os.environ["DOCS_HOME"]
    return Target(line["url"], fresh_token(line["tokenUrl"], line["clientId"], line["clientSecret"]), line["tokenUrl"], line["clientId"],
                  line["clientSecret"], "local", home, f"{home}/scratch")


def live_environment():
    """The Goldcrest of the live environment, or None where it is not up."""
    root = pathlib.Path(os.environ.get("GOLDCREST_ENV", "/var/tmp/goldcrest-env"))
    try:
        url = os.environ.get("GOLDCREST_TEST_URL") or json.loads((root / "goldcrest/env.json").read_text())["url"]
        oidc = json.loads((root / "oidc/env.json").read_text())
        secret = pathlib.Path(oidc["clients"]["fireuser"]["secretFile"]).read_text()
        token = fresh_token(oidc["tokenUrl"], "fireuser", secret)
        subprocess.run(["curl", "-fsS", "-o", "/dev/null", "--max-time", "10", f"{url}/status/liveness/"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return Target(url, token, oidc["tokenUrl"], "fireuser", secret, "slurm", "/home/fireuser", "/home/fireuser")


def fresh_token(token_url, client_id, secret):
    answer = subprocess.run(["curl", "-fsS", "--max-time", "10", "-u", f"{client_id}:{secret}", "-d", "grant_type=client_credentials", token_url],
                            check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)["access_token"]


def run_session(blocks, target, failures):
    """Runs the shell or Python blocks of a page in a folder of their own."""
    page, language = blocks[0].page, blocks[0].language
    folder = WORK / f"session-{page.stem}-{blocks[0].line}"
    folder.mkdir()
    setup = HERE / "pages" / f"{page.stem}.sh"
    values = {"url": target.url, "token": target.token, "token_url": target.token_url, "client_id": target.client_id,
              "client_secret": target.client_secret, "system": target.system, "directory": f"{target.scratch}/run7"}
    environment = os.environ | {"DOCS_SETUP": str(setup), "DOCS_VALUES": json.dumps(values), "BASH_ENV": str(HERE / "prelude.sh")}
    environment |= {"URL": target.url, "TOKEN": target.token, "CLIENT_ID": target.client_id, "CLIENT_SECRET": target.client_secret,
                    "TOKEN_URL": target.token_url, "TARGET_HOME": target.home, "TARGET_SCRATCH": target.scratch}
    script = folder / page.name
    script.write_text(for_target(on_their_lines(blocks), target))
    if language == "python":
        made = run_program(["bash", "-c", ":"], folder, environment)
        made = made or run_program([sys.executable, str(HERE / "interpreter.py"), str(script)], folder, environment)
    else:
        made = run_program(["bash", str(script)], folder, environment)
    if made:
        failures.add(f"{page.relative_to(ROOT)} ({language}, from line {blocks[0].line} on)", made)


def run_program(command, folder, environment):
    """What a program that failed wrote; nothing if it did not fail."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT)
    except subprocess.TimeoutExpired as late:
        return f"{(late.stdout or b'').decode(errors='replace')[-3000:]}\nnot at its end after {TIMEOUT} s"
    return done.stdout.decode(errors="replace")[-3000:] + f"\nstatus {done.returncode}" if done.returncode else None


def check_configuration(block, before):
    """Puts the block into a working configuration, and lets Goldcrest read it. Returns the result, and why it is not good."""
    config = json.loads(json.dumps(before if "continues" in block.words else working_configuration()))
    part = yaml.safe_load(with_files(block.text))
    if "values" in block.words:
        config = part["config"]
    else:
        section = config
        for name in re.findall(r"\w+", block.words.get("in", "")):
            section = section[int(name)] if name.isdigit() else section.setdefault(name, {})
        put_into(section, part)
    file = WORK / "checked.yaml"
    # It holds secrets, which --strict wants kept from others.
    file.touch(0o600)
    file.write_text(json.dumps(config))
    strict = [] if "warns" in block.words else ["--strict"]
    done = subprocess.run(["goldcrest", "check-config", "--config", str(file), *strict], capture_output=True, text=True)
    return config, done.stdout + done.stderr if done.returncode else None


def working_configuration():
    """That of the demonstration, for a cluster with the name that the pages use."""
    config = yaml.safe_load((WORK / "site.yaml").read_text())
    config["clusters"][0]["name"] = "daint"
    return config


def put_into(section, part):
    """Sections that a site has once are filled in; everything else replaces what was there."""
    for key, value in part.items():
        if key in ("auth", "authentication", "ssh") and key in section:
            put_into(section[key], value)
        elif key == "clusters":
            put_into(section[key][0], value[0])
        else:
            section[key] = value


def with_files(text):
    """The files that a configuration names, made where the runner may make them: keys, a certificate, host keys."""
    def file(match):
        path = WORK / "files" / match[0].lstrip("/")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make_file(path)
        return str(path)

    return re.sub(r"/(?:etc/goldcrest|run/secrets)/[\w./-]+", file, text)


def make_file(path):
    both = [path.with_name("tls.key"), path.with_name("tls.pem")]
    if path in both:
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {both[0]} -out {both[1]}"
    elif path.name.endswith("secret"):
        command = f"umask 077; openssl rand -hex 32 >{path}"
    else:
        command = f"ssh-keygen -q -t ed25519 -N '' -f {path}"
    subprocess.run(command, shell=True, check=True, capture_output=True)
    if path.name == "known_hosts":
        path.write_text(f"* {path.with_name('known_hosts.pub').read_text()}")


def run(pages, failures):
    """Runs everything on the pages. Returns numbers for the closing line."""
    sessions, counts, before = {}, {"run": 0, "checked": 0, "shown": 0, "not run": 0}, None
    for page in pages:
        for block in read_blocks(page, failures):
            try:
                check_syntax(block)
            except (ValueError, SyntaxError, yaml.YAMLError) as error:
                failures.add(block.place, str(error))
                continue
            if "norun" in block.words:
                counts["not run"] += 1
            elif block.language == "yaml":
                before, mistakes = check_configuration(block, before)
                counts["checked"] += 1
                if mistakes:
                    failures.add(block.place, mistakes)
            elif block.language in (*SHELLS, "python"):
                sessions.setdefault(block.session, []).append(block)
            else:
                counts["shown" if block.language in SHOWN else "checked"] += 1
    demo, live = demonstration(), live_environment()
    for blocks in sessions.values():
        target = live if "live" in blocks[0].words else demo
        if target:
            begun = time.monotonic()
            run_session(blocks, target, failures)
            counts["run"] += len(blocks)
            print(f"{time.monotonic() - begun:4.0f} s  {blocks[0].page.relative_to(ROOT)} ({blocks[0].language}, {len(blocks)} blocks)", flush=True)
        elif os.environ.get("CI"):
            failures.add(blocks[0].place, "the live environment is not up")
        else:
            print(f"skipped {blocks[0].place}: the live environment is not up")
            counts["not run"] += len(blocks)
    return len(sessions), counts


def main():
    pages = [pathlib.Path(name).resolve() for name in sys.argv[1:]]
    if not pages:
        pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
        prove_that_it_fails()
    failures = Failures()
    sessions, counts = run(pages, failures)
    print(f"docs: {', '.join(f'{count} blocks {what}' for what, count in counts.items())}, in {sessions} sessions; {len(failures)} failed")
    sys.exit(1 if failures else 0)


def prove_that_it_fails():
    """Every block of broken.md fails, each by itself."""
    page = HERE / "broken.md"
    expected = page.read_text().count("```") // 2 + 1
    failures = Failures()
    print("=== what has to fail")
    run([page], failures)
    print("=== the pages", flush=True)
    if len(failures) != expected:
        sys.exit(f"{len(failures)} of {expected} broken blocks failed")


if __name__ == "__main__":
    main()
