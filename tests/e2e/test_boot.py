"""A host that booted from its user-data, with nobody logged in."""

import re

from artifacts import figure
from boot_phases import phases
from running import CONTAINERS, PROXY, all_healthy

MOUNTS = {"/var/lib/docker", "/etc/resolv.conf", "/sys/fs/cgroup"}


def test_nothing_entered_the_host_but_its_user_data(agent, lab):
    from opslab import docker

    inspected = docker.inspect(agent.host.container)
    assert {mount["Destination"] for mount in inspected["Mounts"]} == MOUNTS, "a directory of the machine is in the host"
    assert not inspected["Config"]["Image"].startswith("ops-lab/sqlmesh")
    user_data = (agent.host.state / "user-data").read_text()
    assert len(user_data.splitlines()) <= 20
    asked = [one for one in lab.imds(agent.host) if one["path"].endswith("/user-data") and one["status"] == 200]
    assert asked, "cloud-init has not read the user-data from the metadata service"
    # The lab itself knocks at the door once, to see that version 1 is refused; other tests do, later.
    refused = [one for one in lab.imds(agent.host) if one["status"] == 401 and one["path"] != "/latest/meta-data/"
               and one["time"] < booted(agent, lab)]
    assert not refused, f"asked without a token, as version 1: {refused[:3]}"


def booted(agent, lab):
    """When the boot was over: the time of its signal."""
    return next(one["time"] for one in lab.signals() if one["unique_id"] == agent.host.instance_id)


def test_nobody_logged_in(agent, lab):
    until = f"--until=@{booted(agent, lab):.0f}"
    sessions = agent.root(f"journalctl --no-pager -o cat {until} -t login -t sshd -t sudo -t su -t systemd-logind")
    assert "session opened" not in sessions.lower() and "new session" not in sessions.lower(), sessions


def test_success_was_signalled_once(agent, lab):
    ours = [one for one in lab.signals() if agent.host.instance_id in one["unique_id"]]
    assert [(one["status"], one["unique_id"]) for one in ours] == [("SUCCESS", agent.host.instance_id)]
    assert (ours[0]["stack"], ours[0]["resource"]) == (agent.host.stack, agent.host.resource)
    status = agent.status_json()
    assert status["signal"]["state"] == "acknowledged" and status["signal"]["status"] == "success", status["signal"]


def test_the_phases_of_the_boot_were_recorded(agent, lab):
    found = phases(agent, lab)
    figure("boot: seconds from power-on to the end of each phase", found)
    order = [phase for phase in found if phase in (
        "user-data read by cloud-init", "release fetched", "parameters read", "secrets read", "container:ops-sqlmesh-ui", "signal")]
    assert order == ["user-data read by cloud-init", "release fetched", "parameters read", "secrets read",
                     "container:ops-sqlmesh-ui", "signal"], found


def test_the_report_says_that_all_is_done(agent):
    report = agent.report()
    assert report["run"]["outcome"] in ("changed", "unchanged")
    assert report["root_cause"] is None and report["owed_restarts"] == []
    assert report["instance_id"] == agent.host.instance_id and report["role"] == "sqlmesh-server"
    assert {one["outcome"] for one in report["resources"]} <= {"changed", "unchanged"}
    assert {entry["freshness"] for entry in report["inputs"]} == {"fresh"}, report["inputs"]


def test_the_status_of_an_unprivileged_user_shows_every_service_healthy(agent):
    done = agent.status()
    assert done.returncode == 0, done.text
    for service in ("docker", "ui-proxy", "sqlmesh-ui", "sqlmesh-scheduler"):
        assert re.search(rf"^\s+{service}\s+healthy", done.stdout, re.MULTILINE), done.stdout
    assert agent.host.instance_id in done.stdout
    services = {one["name"]: one["state"] for one in agent.status_json()["health"]["services"]}
    assert set(services.values()) == {"healthy"}, services
    assert done.calls == [], "status asked AWS"
    assert all_healthy(agent)


def test_the_scheduler_has_run(agent):
    last = agent.scheduler()["last"]
    assert last["outcome"] in ("success", "nothing-to-do") and last["exit_code"] == 0, last


def test_rows_are_in_the_warehouse(lab):
    warehouse = lab.database("warehouse")
    for table in ("staging.sessions", "marts.site_activity", "marts.device_health", "marts.technician_load"):
        (count,) = warehouse.query(f"SELECT count(*) FROM {table}", "warehouse")
        assert int(count[0]) > 0, f"{table} is empty"


def test_prod_is_in_the_state_database_and_belongs_to_the_user_of_the_secret(lab):
    user = lab.secret(lab.addresses.STATE_SECRET)["username"]
    state = lab.database()
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'sqlmesh_state'"
    assert state.query(owner) == [[user]]
    assert ["prod"] in state.query("SELECT name FROM sqlmesh._environments", "sqlmesh_state")
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'sqlmesh'"
    assert state.query(owners, "sqlmesh_state") == [[user]]


def test_the_containers_have_no_rights(agent):
    lines = agent.root(
        "docker inspect -f '{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} "
        "{{.HostConfig.Privileged}} {{.HostConfig.SecurityOpt}}' " + " ".join(CONTAINERS)
    ).splitlines()
    for line in lines:
        assert re.match(r"\S+ 10001(:10001)? true \[ALL\] false .*no-new-privileges", line), line


def test_systemd_is_content(agent):
    assert agent.root("systemctl is-system-running", check=False).strip() == "running", agent.root("systemctl --failed")


def test_the_proxy_is_locked_in(agent):
    said = agent.root(f"systemd-analyze security --no-pager {PROXY} | tail -n 1")
    score = float(re.search(r"level for \S+ (\d+\.\d+)", said).group(1))
    figure("proxy: exposure level by systemd-analyze security", score)
    assert score < 2.5, said
