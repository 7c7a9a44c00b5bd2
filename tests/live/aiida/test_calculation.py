"""A calculation of AiiDA that runs through Goldcrest: upload, submission, polling, retrieval, parsing."""

import pytest


@pytest.fixture(scope="module")
def bash(computer):
    from aiida import orm

    return orm.InstalledCode(label="bash", computer=computer, filepath_executable="/bin/bash").store()


def add(code, left, right):
    from aiida import engine, orm
    from aiida.calculations.arithmetic.add import ArithmeticAddCalculation

    return engine.run_get_node(
        ArithmeticAddCalculation,
        code=code,
        x=orm.Int(left),
        y=orm.Int(right),
        metadata={"options": {"withmpi": False, "max_wallclock_seconds": 120, "import_sys_environment": False}},
    )


def test_two_numbers_are_added_by_a_job(bash):
    outputs, node = add(bash, 19, 23)
    assert (node.is_finished_ok, node.exit_status, node.exit_message) == (True, 0, None)
    assert outputs["sum"].value == 42
    assert node.outputs.retrieved.base.repository.get_object_content("aiida.out") == "42\n"
    # What the scheduler wrote came back too, and the job was one of the cluster.
    assert {"_scheduler-stdout.txt", "_scheduler-stderr.txt"} <= set(node.outputs.retrieved.base.repository.list_object_names())
    assert node.get_job_id()
    assert "aiida.out" in node.outputs.remote_folder.listdir()


def test_a_calculation_whose_result_is_wrong_is_told_by_the_parser(bash):
    _, node = add(bash, 1, -8)
    assert node.is_finished and node.exit_status == 410


def test_an_executable_of_the_user_is_found_where_it_is(computer, transport, workdir, tmp_path):
    from aiida import orm

    (tmp_path / "program").write_text("#!/bin/bash\ncat\n")
    transport.putfile(tmp_path / "program", f"{workdir}/program")
    transport.chmod(f"{workdir}/program", 0o755)
    orm.InstalledCode(label="program", computer=computer, filepath_executable=f"{workdir}/program").validate_filepath_executable()
