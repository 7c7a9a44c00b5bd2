"""The clients of pyfirecrest for the Goldcrest that the tests talk to."""

import asyncio
import inspect
import os
import re
import urllib.parse
import uuid

import firecrest
import pytest
from firecrest.FirecrestException import FirecrestException
from target import find_target


class Recorded:
    """A client that keeps the names of the methods that were called."""

    def __init__(self, client, called):
        self._client = client
        self._called = called

    def __getattr__(self, name):
        self._called.add(name)
        return getattr(self._client, name)


class Blocking:
    """The asynchronous client behind the calls of the synchronous one, so that one set of tests serves both."""

    def __init__(self, client, called):
        self._client = client
        self._called = called
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        self._called.add(name)
        method = getattr(self._client, name)

        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

        return call

    def close(self):
        self._loop.run_until_complete(self._client.close_session())
        self._loop.close()


@pytest.fixture(scope="session")
def target():
    found = find_target()
    if found is None:
        reason = "no Goldcrest is up: see build/environment/README.md"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def called():
    """The methods that were called, of each of the two clients."""
    return {"sync": set(), "async": set()}


@pytest.fixture(scope="session", params=["sync", "async"])
def client(request, target, called):
    if request.param == "sync":
        client = firecrest.v2.Firecrest(target.url, target.authorization())
        client.timeout = 60
        yield Recorded(client, called["sync"])
        client.close_session()
    else:
        client = firecrest.v2.AsyncFirecrest(target.url, target.authorization())
        client.timeout = 60
        blocking = Blocking(client, called["async"])
        yield blocking
        blocking.close()


@pytest.fixture
def system(target):
    return target.system


@pytest.fixture
def has_files(client, system):
    """Whether the system has files."""
    return bool(next(found for found in client.systems() if found["name"] == system)["fileSystems"])


@pytest.fixture
def files(has_files):
    """For tests of files."""
    if not has_files:
        pytest.skip("the system has no files")


@pytest.fixture
def folder(client, target, has_files):
    """A folder on the system that is this test's alone; without files, one that every container has."""
    if not has_files:
        yield "/tmp"
        return
    path = f"{target.workdir}/pyfirecrest-{uuid.uuid4().hex}"
    client.mkdir(target.system, path, create_parents=True)
    yield path
    client.rm(target.system, path)


@pytest.fixture
def lines(files, client, system, folder, tmp_path):
    """A file of twenty lines in that folder: its path and its content."""
    local = tmp_path / "lines.txt"
    local.write_text("".join(f"line {number}\n" for number in range(1, 21)))
    client.upload(system, str(local), folder, "lines.txt")
    return f"{folder}/lines.txt", local.read_text()


@pytest.fixture
def methods(client, system):
    """The methods of the system for large files, the default one first; the test is skipped where there are none."""
    found = next(found for found in client.systems() if found["name"] == system)
    services = [service["serviceType"] for service in found["dataOperation"]["data_transfers"]]
    if not services:
        pytest.skip("the system has no transfer service")
    return services


def is_listed(gaps, answer):
    """Whether an answer of 501 is for an operation that the system lists as one that it does not have, and gives the reason of that list."""
    path, message = urllib.parse.urlsplit(str(answer.request.url)).path, answer.json()["message"]
    prefixes = ((re.sub(r"\\{\w+\\}", "[^/]+", re.escape(gap["operations"].split(" ")[0])), gap["reason"]) for gap in gaps)
    return any(re.search(prefix, path) and reason in message for prefix, reason in prefixes)


@pytest.fixture
def gaps(client, system):
    """What the system lists as operations that it does not have: the prefixes of their paths, and the reasons."""
    return next(found for found in client.systems() if found["name"] == system)["unsupported"]


@pytest.fixture
def supported(gaps):
    """The call's result. Where the system says that it cannot do this (501), that has to be in its list with this reason, and the test ends there."""

    def result(call, *args, **kwargs):
        try:
            return call(*args, **kwargs)
        except FirecrestException as error:
            answer = error.responses[-1]
            if answer.status_code != 501:
                raise
            assert is_listed(gaps, answer), f"{answer.request.url} is not listed in {gaps}: {answer.text}"
            pytest.skip(f"not supported here: {answer.json()['message']}")

    return result
