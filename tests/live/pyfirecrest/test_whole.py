"""That no method of the clients goes without a test. Its name makes it the last to run."""

import inspect

import firecrest
import pytest

# What concerns the client alone, and asks the service nothing.
LOCAL = {"close_session", "create_new_session", "is_session_closed", "log", "set_api_version", "set_maximum_s3_connections"}


def methods(client):
    return {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")} - LOCAL


def test_every_method_of_both_clients_was_called(request, called, target):
    modules = {item.path.name for item in request.session.items}
    if not {"test_files.py", "test_jobs.py", "test_status.py"} <= modules or request.config.option.keyword:
        pytest.skip("only a part of the tests was chosen")
    system = next(found for found in firecrest.v2.Firecrest(target.url, target.authorization()).systems() if found["name"] == target.system)
    if system["ssh"] is None:
        pytest.skip("the system has jobs alone")
    assert methods(firecrest.v2.Firecrest) - called["sync"] == set()
    assert methods(firecrest.v2.AsyncFirecrest) - called["async"] == set()
