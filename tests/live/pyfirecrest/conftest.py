"""The clients of pyfirecrest for the Goldcrest that the tests talk to."""

import asyncio
import inspect
import os
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
    """Whether the system has files. One that is reached without SSH has jobs alone."""
    return next(found for found in client.systems() if found["name"] == system)["ssh"] is not None


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


def supported(call, *args, **kwargs):
    """The call's result; the test is skipped where the system says that it cannot do this (501)."""
    try:
        return call(*args, **kwargs)
    except FirecrestException as error:
        if error.responses[-1].status_code == 501:
            pytest.skip(f"not supported here: {error.responses[-1].json()['message']}")
        raise


@pytest.fixture(name="supported")
def supported_fixture():
    return supported
