"""Calls Goldcrest by the client that openapi-python-client made."""
import importlib
import os
import pkgutil
import time

import goldcrest_client
from goldcrest_client import AuthenticatedClient, models
from goldcrest_client.api.compute import get_job_compute_system_name_jobs_job_id_get as get_job
from goldcrest_client.api.compute import post_job_submit_compute_system_name_jobs_post as submit
from goldcrest_client.api.filesystem import get_ls_filesystem_system_name_ops_ls_get as ls
from goldcrest_client.api.filesystem import get_view_filesystem_system_name_ops_view_get as view
from goldcrest_client.api.status import get_systems_status_systems_get as systems

# Every module of it can be read.
for module in pkgutil.walk_packages(goldcrest_client.__path__, "goldcrest_client."):
    importlib.import_module(module.name)

home = os.environ["GOLDCREST_TEST_WORKDIR"]
client = AuthenticatedClient(os.environ["GOLDCREST_TEST_URL"], os.environ["GOLDCREST_TEST_TOKEN"], raise_on_unexpected_status=True)

names = [system.name for system in systems.sync(client=client).systems]
assert "local" in names, names
job = models.JobDescriptionModel(working_directory=home, name="python", standard_output="python.out", script="#!/bin/sh\necho from python\n")
job_id = submit.sync("local", client=client, body=models.PostJobSubmitRequest(job=job)).job_id
for _ in range(100):
    state = get_job.sync("local", job_id, client=client).jobs[0].status.state
    if state in ("COMPLETED", "FAILED"):
        break
    time.sleep(0.1)
assert state == "COMPLETED", state
assert view.sync("local", client=client, path=f"{home}/python.out").output == "from python\n"
assert "python.out" in [file.name for file in ls.sync("local", client=client, path=home).output]
missing = view.sync("local", client=client, path=f"{home}/none")
assert isinstance(missing, models.ApiResponseError) and "No such file" in missing.message, missing
print("python: 6 calls answered")
