"""What pyfirecrest asks about the service and its systems."""


def test_the_version_is_one_that_the_client_knows(client):
    # The client refuses parameters by itself when the server calls itself older than they are; test_jobs.py uses them all.
    assert client.server_version().startswith("2")


def test_the_system_is_listed_with_its_file_systems(files, client, target):
    systems = {entry["name"]: entry for entry in client.systems()}
    paths = [entry["path"] for entry in systems[target.system]["fileSystems"]]
    assert any(target.workdir == path or target.workdir.startswith(f"{path.rstrip('/')}/") for path in paths)
    # Volumes of Kubernetes are reached without.
    assert systems[target.system]["ssh"] is None or systems[target.system]["ssh"]["host"]


def test_nodes_are_listed(client, system, supported):
    assert all(node["name"] and node["state"] for node in supported(client.nodes, system))


def test_partitions_are_listed(client, system, supported):
    assert all(partition["name"] for partition in supported(client.partitions, system))


def test_reservations_are_listed(client, system, supported):
    assert isinstance(supported(client.reservations, system), list)


def test_the_caller_is_shown(client, system, supported):
    info = supported(client.userinfo, system)
    assert info["user"]["name"]
    assert any(group["name"] for group in info["groups"])
