"""Which Goldcrest the tests talk to, and pyfirecrest's clients for it. See run.sh for the variables."""

import asyncio
import inspect
import json
import os
import pathlib
import uuid
from dataclasses import dataclass

import firecrest
import pytest
from firecrest.FirecrestException import FirecrestException


@dataclass(frozen=True)
class Target:
    """A running Goldcrest, and who asks it."""

    url: str
    system: str
    workdir: str
    token_url: str | None
    client_id: str | None
    client_secret: str | None
    token: str | None

    def authorization(self):
        if self.token:
            return FixedToken(self.token)
        return firecrest.ClientCredentialsAuth(self.client_id, self.client_secret, self.token_url)


@dataclass(frozen=True)
class FixedToken:
    token: str

    def get_access_token(self):
        return self.token


class Blocking:
    """The asynchronous client behind the calls of the synchronous one, so that one set of tests serves both."""

    def __init__(self, client):
        self._client = client
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        method = getattr(self._client, name)

        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

        return call

    def close(self):
        self._loop.run_until_complete(self._client.close_session())
        self._loop.close()


def find_target():
    setting = os.environ.get
    system = setting("GOLDCREST_TEST_SYSTEM", "slurm")
    if setting("GOLDCREST_TEST_URL"):
        return Target(
            url=setting("GOLDCREST_TEST_URL"),
            system=system,
            workdir=setting("GOLDCREST_TEST_WORKDIR", "/home/fireuser"),
            token_url=setting("GOLDCREST_TEST_TOKEN_URL"),
            client_id=setting("GOLDCREST_TEST_CLIENT_ID"),
            client_secret=setting("GOLDCREST_TEST_CLIENT_SECRET"),
            token=setting("GOLDCREST_TEST_TOKEN"),
        )
    root = pathlib.Path(setting("GOLDCREST_ENV", "/var/tmp/goldcrest-env"))
    try:
        goldcrest = json.loads((root / "goldcrest/env.json").read_text())
        oidc = json.loads((root / "oidc/env.json").read_text())
    except FileNotFoundError:
        return None
    return Target(
        url=goldcrest["url"],
        system=system,
        workdir="/home/fireuser",
        token_url=oidc["tokenUrl"],
        client_id="fireuser",
        client_secret=pathlib.Path(oidc["clients"]["fireuser"]["secretFile"]).read_text(),
        token=None,
    )


@pytest.fixture(scope="session")
def target():
    found = find_target()
    if found is None:
        reason = "no Goldcrest is up: see build/environment/README.md"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@pytest.fixture(scope="session", params=["sync", "async"])
def client(request, target):
    if request.param == "sync":
        client = firecrest.v2.Firecrest(target.url, target.authorization())
        client.timeout = 60
        yield client
        client.close_session()
    else:
        client = firecrest.v2.AsyncFirecrest(target.url, target.authorization())
        client.timeout = 60
        blocking = Blocking(client)
        yield blocking
        blocking.close()


@pytest.fixture
def system(target):
    return target.system


@pytest.fixture
def folder(client, target):
    """A folder on the system that is this test's alone."""
    path = f"{target.workdir}/pyfirecrest-{uuid.uuid4().hex}"
    client.mkdir(target.system, path, create_parents=True)
    yield path
    client.rm(target.system, path)


@pytest.fixture
def lines(client, system, folder, tmp_path):
    """A file of twenty lines in that folder: its path and its content."""
    local = tmp_path / "lines.txt"
    local.write_text("".join(f"line {number}\n" for number in range(1, 21)))
    client.upload(system, str(local), folder, "lines.txt")
    return f"{folder}/lines.txt", local.read_text()


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
