"""Leads what schemathesis sends to where something is.

A generated path hardly ever lies in a file system, and a generated id is hardly ever that of a job, so nearly all answers would be
400 and 404. Right requests are therefore given paths and ids that exist, or could; wrong ones stay as they are.
"""

import contextlib
import os
import tarfile

import schemathesis
from schemathesis import GenerationMode

HOME = os.environ["GOLDCREST_TEST_WORKDIR"]
PATHS = [f"{HOME}/{name}" for name in ("file", "folder", "folder/inner", "link", "archive.tar", "new", "absent/one")]
JOBS = ["1", "2", "3", "999"]
# What is run, so that no generated text is.
TEXTS = {"command": ["true", "echo printed", "exit 3"], "script": ["#!/bin/sh\ntrue\n", "#!/bin/sh\nsleep 5\n", "no script"]}
DIRECTORIES = {"workingdirectory", "currentworkingdirectory"}
FIELDS = {"path", "sourcepath", "targetpath", "linkpath", "scriptpath"}


def choose(among, text):
    """One of several, always the same for the same text."""
    return among[sum(text.encode("utf-8", "surrogatepass")) % len(among)]


def lead(value, name=""):
    """The same value, with every path in it one of the system's."""
    name = name.replace("_", "").lower()
    if isinstance(value, dict):
        if value.get("script"):
            # One of the two is to be given, which the schema does not say.
            value = {key: member for key, member in value.items() if key != "scriptPath"}
        return {key: lead(member, key) for key, member in value.items()}
    if isinstance(value, str) and name in DIRECTORIES:
        return HOME
    if isinstance(value, str) and name in FIELDS:
        return choose(PATHS, value)
    if isinstance(value, str) and value and name in TEXTS:
        return choose(TEXTS[name], value)
    return value


def restore():
    """Puts back what earlier requests moved or removed."""
    for name in ("folder", "folder/inner"):
        if not os.path.lexists(f"{HOME}/{name}"):
            os.mkdir(f"{HOME}/{name}")
    if not os.path.lexists(f"{HOME}/file"):
        with open(f"{HOME}/file", "w", encoding="ascii") as file:
            file.write("content\n")
    if not os.path.lexists(f"{HOME}/link"):
        os.symlink("file", f"{HOME}/link")
    if not os.path.lexists(f"{HOME}/archive.tar"):
        with tarfile.open(f"{HOME}/archive.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("member"))


@schemathesis.hook
def before_call(context, case, kwargs):
    # Jobs of earlier requests are at work in the same folder.
    with contextlib.suppress(OSError):
        restore()
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    case.query = lead(case.query)
    case.body = lead(case.body)
    if "job_id" in (case.path_parameters or {}):
        case.path_parameters["job_id"] = choose(JOBS, case.path_parameters["job_id"])
