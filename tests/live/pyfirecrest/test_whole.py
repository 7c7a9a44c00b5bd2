"""That no method of the clients goes without a test. Its name makes it the last to run."""

import inspect

import firecrest
import pytest
from conftest import is_listed
from firecrest.FirecrestException import FirecrestException

# What concerns the client alone, and asks the service nothing.
LOCAL = {"close_session", "create_new_session", "is_session_closed", "log", "set_api_version", "set_maximum_s3_connections"}
# What a system without files has too.
JOBS = {"attach_to_job", "cancel_job", "job_info", "job_metadata", "nodes", "partitions", "reservations", "server_version", "submit", "systems"}
JOBS |= {"userinfo", "wait_for_job"}
# The calls of methods that not each system has, for a job that is none. The tests of such a method end before it where another call is refused.
GAPS = {"attach_to_job": ("1", "true"), "job_metadata": ("1",)}


def methods(client):
    return {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")} - LOCAL


def test_every_method_was_called_and_what_the_system_does_not_have_is_refused_as_it_lists(request, client, called, target, gaps):
    modules = {item.path.name for item in request.session.items}
    if not {"test_files.py", "test_jobs.py", "test_status.py"} <= modules or request.config.option.keyword:
        pytest.skip("only a part of the tests was chosen")
    system = next(found for found in client.systems() if found["name"] == target.system)
    kind = request.node.callspec.params["client"]
    expected = methods(firecrest.v2.Firecrest if kind == "sync" else firecrest.v2.AsyncFirecrest)
    if not system["fileSystems"]:
        assert JOBS <= expected, f"the client has other methods: {JOBS - expected}"
        expected = JOBS
    missing = expected - called[kind]
    refused = set()
    for name, arguments in GAPS.items():
        try:
            getattr(client, name)(target.system, *arguments)
        except FirecrestException as error:
            if error.responses[-1].status_code == 501:
                assert is_listed(gaps, error.responses[-1]), f"{name}: {gaps}"
                refused.add(name)
    assert missing - refused == set()
    listed = [gap["operations"] for gap in gaps if gap["operations"].endswith(("/attach", "/metadata"))]
    assert len(listed) == len(refused), f"{refused}: {gaps}"
