"""Every call of the transport and the scheduler of aiida-firecrest that Goldcrest can answer."""

import stat
import time

import pytest


@pytest.fixture
def folder(transport, workdir, request):
    path = f"{workdir}/{request.node.name}"
    transport.mkdir(path)
    yield path
    transport.rmtree(path)


def test_what_is_there_is_told_from_what_is_not(transport, folder, tmp_path):
    (tmp_path / "file").write_text("content\n")
    transport.putfile(tmp_path / "file", f"{folder}/file")
    assert transport.path_exists(f"{folder}/file") and not transport.path_exists(f"{folder}/missing")
    assert transport.isfile(f"{folder}/file") and not transport.isfile(folder) and not transport.isfile(f"{folder}/missing")
    assert transport.isdir(folder) and not transport.isdir(f"{folder}/file") and not transport.isdir(f"{folder}/missing")
    attributes = transport.get_attribute(f"{folder}/file")
    assert attributes.st_size == 8 and stat.S_ISREG(attributes.st_mode)


def test_a_folder_is_made_once(transport, folder):
    transport.makedirs(f"{folder}/a/b")
    with pytest.raises(OSError, match="exists"):
        transport.makedirs(f"{folder}/a/b")
    with pytest.raises(OSError, match="exists"):
        transport.mkdir(f"{folder}/a/b")
    transport.makedirs(f"{folder}/a/b", ignore_existing=True)
    transport.rmdir(f"{folder}/a/b")
    assert transport.listdir(f"{folder}/a") == []


def test_modes_and_links(transport, folder, tmp_path):
    (tmp_path / "file").write_text("content\n")
    transport.putfile(tmp_path / "file", f"{folder}/file")
    transport.chmod(f"{folder}/file", 0o640)
    assert stat.S_IMODE(transport.get_mode(f"{folder}/file")) == 0o640
    transport.symlink(f"{folder}/file", f"{folder}/link")
    assert transport.is_symlink(f"{folder}/link") and not transport.is_symlink(f"{folder}/file")
    transport.remove(f"{folder}/link")
    assert transport.listdir(folder) == ["file"]


# A tree of few files goes file by file, one of many as an archive.
@pytest.mark.parametrize("files", [2, 6])
def test_a_tree_goes_up_and_comes_back(transport, folder, tmp_path, files):
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    for number in range(files):
        (tree / "deep" / f"file-{number}").write_text(f"content {number}\n")
    transport.puttree(tree, f"{folder}/tree")
    # The archive stands in a folder of the system, and is removed from there.
    assert sorted(transport.listdir(f"{folder}/tree/deep")) == [f"file-{number}" for number in range(files)]
    transport.gettree(f"{folder}/tree", tmp_path / "back")
    for number in range(files):
        assert (tmp_path / "back/deep" / f"file-{number}").read_text() == f"content {number}\n"


def test_names_are_matched_by_a_pattern(transport, folder, tmp_path):
    (tmp_path / "file").write_text("content\n")
    for name in ("one.txt", "two.txt", "three.dat"):
        transport.putfile(tmp_path / "file", f"{folder}/{name}")
    assert sorted(transport.glob(f"{folder}/*.txt")) == [f"{folder}/one.txt", f"{folder}/two.txt"]
    assert transport.listdir(folder, pattern="*.dat") == ["three.dat"]


def test_the_caller_is_named(transport, target):
    assert transport.whoami() == (target.client_id if target.system != "local" else transport.whoami())


def test_files_are_copied_and_renamed_by_jobs(transport, folder, tmp_path):
    from firecrest.FirecrestException import FirecrestException

    (tmp_path / "file").write_text("content\n")
    transport.putfile(tmp_path / "file", f"{folder}/file")
    try:
        transport.copyfile(f"{folder}/file", f"{folder}/copy")
    except FirecrestException as error:
        if error.responses[-1].status_code == 501:
            pytest.skip(error.responses[-1].json()["message"])
        raise
    transport.rename(f"{folder}/copy", f"{folder}/renamed")
    assert sorted(transport.listdir(folder)) == ["file", "renamed"]


def test_a_job_is_seen_and_killed(computer, transport, folder, tmp_path):
    from aiida.schedulers.datastructures import JobState

    scheduler = computer.get_scheduler()
    scheduler.set_transport(transport)
    (tmp_path / "job.sh").write_text("#!/bin/bash\nsleep 300\n")
    transport.putfile(tmp_path / "job.sh", f"{folder}/job.sh")
    job = scheduler.submit_job(folder, "job.sh")
    deadline = time.monotonic() + 60
    while (seen := scheduler.get_jobs(jobs=[job], as_dict=True)[job]).job_state != JobState.RUNNING:
        assert time.monotonic() < deadline, "the job does not start"
        time.sleep(0.5)
    assert seen.job_owner == transport.whoami() and seen.queue_name and seen.dispatch_time
    assert scheduler.kill_job(job)
    while scheduler.get_jobs(jobs=[job]):
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.5)
    # What never was is no error either.
    assert scheduler.get_jobs(jobs=["99999999"]) == []
