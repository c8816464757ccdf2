"""What changes in the account changes on the host, and nothing else does."""

import secrets
import shutil

import account_state
import canaries
import pytest
import stranger
from artifacts import figure
from running import DOCKER, PROXY, SCHEDULER, UI, Running, all_healthy

CHANGES = 6
"""Exit code of `plan` where there is something to do."""
CURRENT = "/var/lib/ops-agent/sqlmesh/current"

NEW_MODEL = """\
MODEL (
  name marts.sessions_by_team,
  kind FULL,
  description 'Sessions of each team.',
  grain team,
  audits (not_null(columns := (team)))
);

SELECT
  team::TEXT AS team,
  COUNT(session_id)::INT AS sessions
FROM staging.sessions
GROUP BY
  team
"""


def planned(agent):
    """The text of a plan that has changes."""
    done = agent.plan()
    assert done.returncode == CHANGES, done.text
    return done.stdout


def converged(agent, name):
    """Converge, and be well after it."""
    done = agent.converge()
    assert done.returncode == 0, done.text
    assert agent.report()["run"]["outcome"] == "changed"
    figure(f"{name}: seconds", round(done.seconds, 1))
    assert all_healthy(agent)
    assert agent.status().returncode == 0, agent.status().stdout
    return done


def test_a_parameter_of_the_scheduler_replaces_the_scheduler_alone(agent, lab, running):
    lab.put_parameter("scheduler/interval-seconds", "90")
    plan = planned(agent)
    assert "~ container:ops-sqlmesh-scheduler" in plan and "90" in plan, plan
    assert plan.count("\n~ ") + plan.startswith("~ ") == 1, plan
    converged(agent, "change of the scheduler's interval")
    assert agent.changed() == [f"container:{SCHEDULER}"]
    after = Running.on(agent)
    assert after.differs_from(running) == {SCHEDULER}
    assert after.container_id(SCHEDULER) != running.container_id(SCHEDULER)


def test_a_network_in_the_settings_file_restarts_the_proxy_alone(agent, lab, running):
    with stranger.present():
        assert stranger.get(agent.host.ip, 8000, "/health")[0] == 403
        text = lab.settings()
        lab.settings(text.replace('allow = ["172.22.0.0/16"]', f'allow = ["172.22.0.0/16", "{stranger.NETWORK}"]'))
        assert lab.settings() != text
        plan = planned(agent)
        assert "~ file:/etc/ops-agent/ui-proxy.conf" in plan
        assert f"+        allow {stranger.NETWORK};" in plan and "@@ -" in plan, plan
        assert "\n     " in plan, "a unified diff has lines of context"
        converged(agent, "change of the proxy's list")
        assert stranger.get(agent.host.ip, 8000, "/health")[0] == 200
    assert Running.on(agent).differs_from(running) <= {PROXY}
    assert "file:/etc/ops-agent/ui-proxy.conf" in agent.changed()


@pytest.fixture
def second_version(lab, tmp_path):
    """The example project with one more model, and one model changed."""
    made = tmp_path / "project"
    shutil.copytree(lab.project(), made)
    (made / "models" / "marts" / "sessions_by_team.sql").write_text(NEW_MODEL)
    changed = made / "models" / "marts" / "device_health.sql"
    text = changed.read_text()
    changed.write_text(text.replace("  MAX(sessions.started_at)::TIMESTAMP AS last_session_at",
                                    "  MAX(sessions.started_at)::TIMESTAMP AS last_session_at,\n  1::INT AS version"))
    assert changed.read_text() != text
    return made


def physical_tables(warehouse):
    """The warehouse's tables behind the views of prod, with the file that each is stored in."""
    rows = warehouse.query("SELECT relname, relfilenode FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                           "WHERE nspname LIKE 'sqlmesh\\_\\_%' AND relkind = 'r'", "warehouse")
    return dict(rows)


def view_of(warehouse, model):
    return warehouse.query(f"SELECT pg_get_viewdef('{model}'::regclass)", "warehouse")


def test_a_project_is_promoted_and_can_be_taken_back(agent, lab, running, second_version):
    warehouse = lab.database("warehouse")
    first = agent.root(f"readlink {CURRENT}").strip()
    view = view_of(warehouse, "marts.device_health")
    digest = lab.publish(second_version)
    plan = planned(agent)
    assert "promotion:" in plan and digest[:12] in plan, plan
    converged(agent, "a new version of the project")
    assert agent.root(f"readlink {CURRENT}").strip() == f"projects/{digest}"
    assert int(warehouse.query("SELECT count(*) FROM marts.sessions_by_team", "warehouse")[0][0]) > 0
    assert warehouse.query("SELECT DISTINCT version FROM marts.device_health", "warehouse") == [["1"]]
    second = Running.on(agent)
    assert second.differs_from(running) == {UI, SCHEDULER}
    promoted = [name for name in agent.changed() if name.startswith("promotion:")]
    assert len(promoted) == 1, agent.changed()

    before = physical_tables(warehouse)
    lab.put_parameter("project/bundle", first.rpartition("/")[2])
    converged(agent, "the version of the project before")
    assert agent.root(f"readlink {CURRENT}").strip() == first
    assert view_of(warehouse, "marts.device_health") == view, "prod does not show the table that it had"
    after = physical_tables(warehouse)
    assert set(after) <= set(before), "tables were computed anew"
    assert warehouse.query("SELECT to_regclass('marts.sessions_by_team') IS NULL", "warehouse") == [["t"]]
    assert Running.on(agent).differs_from(second) == {UI, SCHEDULER}


def test_a_password_is_rotated(agent, lab, running):
    name = lab.addresses.STATE_SECRET
    value = lab.secret(name)
    rotated = f"CANARY-rotated-{secrets.token_hex(8)}\"'\\"
    account_state.set_password(lab, value["username"], rotated)
    lab.secret(name, {**value, "password": rotated})
    with canaries.search(agent, [rotated, value["password"]]) as search:
        plan = planned(agent)
        assert "secrets:sqlmesh" in plan and f"container:{UI}" in plan, plan
        with canaries.watched_arguments(agent) as shown:
            done = converged(agent, "a rotated password")
        assert shown == [], "a process was given a secret as an argument"
        assert search.inside(plan + done.text) == []
        assert search.lines(f"journalctl --no-pager -a -o export | grep -aFf {canaries.FILE} | head -n 5") == []
        old = value["password"][:canaries.VISIBLE]
        assert search.lines(f"grep -laF '{old}' -r /run/ops-agent; grep -laF '{old}' /proc/[0-9]*/environ 2>/dev/null") == []
    assert Running.on(agent).differs_from(running) == {UI, SCHEDULER}
    status = agent.root("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8001/api/environments")
    assert status == "200", "the UI cannot read the state with the new password"


def test_another_image_replaces_what_runs_from_it(agent, lab, running):
    reference = agent.root("docker inspect -f '{{.Config.Image}}' ops-sqlmesh-ui").strip()
    another = image_with_a_label(lab)
    assert another != reference
    agent.root(f"docker rmi {another}", check=False)  # of an earlier run of this test
    lab.put_parameter("image/reference", another)
    plan = planned(agent)
    digest = another.rpartition(":")[2]
    assert f"~ image:{another.partition('@')[0]}@{digest[:12]}" in plan and f"~ container:{UI}" in plan, plan
    converged(agent, "another image")
    assert Running.on(agent).differs_from(running) == {UI, SCHEDULER}
    used = agent.root(f"docker inspect -f '{{{{.Config.Image}}}}' {UI} {SCHEDULER}").split()
    assert used == [another, another]
    assert DOCKER not in Running.on(agent).differs_from(running)


def image_with_a_label(lab):
    """The SQLMesh image with one label more, in the registry; its reference by digest."""
    from opslab import docker, images, registry

    base = images.build("sqlmesh", registry.SQLMESH_RECIPE, [(images.MACHINE_AUTHORITIES, "ca-bundle.crt")])
    tag = f"{base}-labelled"
    docker.run("build", "-t", tag, "-", text=f"FROM {base}\nLABEL end-to-end=another\n")
    digest = registry.push(tag, tag.rpartition(":")[2])
    return f"{lab.addresses.REGISTRY_NAME}/{registry.REPOSITORY}@{digest}"
