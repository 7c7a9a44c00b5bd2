"""An AiiDA profile of its own, with the system of a running Goldcrest as its computer. See run.sh for the variables."""

import os
import pathlib
import tempfile
import uuid

import pytest

# Of the tests of pyfirecrest: see pytest.ini.
from target import find_target


@pytest.fixture(scope="session")
def target():
    found = find_target()
    if found is None:
        reason = "no Goldcrest is up: see build/environment/README.md"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    if found.token:
        pytest.skip("aiida-firecrest takes client credentials only")
    return found


@pytest.fixture(scope="session")
def profile():
    """A profile in a temporary folder, with neither a message broker nor a daemon: everything runs in this process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIIDA_PATH"] = folder
        from aiida.manage.configuration import create_profile, get_config, load_profile, settings

        settings.AiiDAConfigDir.set(pathlib.Path(folder) / ".aiida")
        config = get_config(create=True)
        create_profile(
            config,
            name="goldcrest",
            email="goldcrest@localhost",
            storage_backend="core.sqlite_dos",
            storage_config={"filepath": f"{folder}/storage"},
            broker_backend=None,
            broker_config=None,
        )
        yield load_profile("goldcrest", allow_switch=True)


@pytest.fixture(scope="session")
def workdir(target):
    """A folder on the system that is this run's alone."""
    from firecrest import ClientCredentialsAuth
    from firecrest.v2 import Firecrest

    client = Firecrest(target.url, ClientCredentialsAuth(target.client_id, target.client_secret, target.token_url))
    path = f"{target.workdir}/aiida-{uuid.uuid4().hex}"
    client.mkdir(target.system, f"{path}/tmp", create_parents=True)
    yield path
    client.rm(target.system, path)


@pytest.fixture(scope="session")
def computer(profile, target, workdir):
    from aiida import orm

    computer = orm.Computer(
        label="goldcrest",
        hostname="goldcrest",
        transport_type="firecrest",
        scheduler_type="firecrest",
        workdir=f"{workdir}/run",
    ).store()
    computer.set_minimum_job_poll_interval(1.0)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(
        url=target.url,
        token_uri=target.token_url,
        client_id=target.client_id,
        client_secret=target.client_secret,
        compute_resource=target.system,
        billing_account="none",
        temp_directory=f"{workdir}/tmp",
        max_io_allowed=4,
        checksum_check=True,
    )
    return computer


@pytest.fixture
def transport(computer):
    with computer.get_transport() as transport:
        yield transport
