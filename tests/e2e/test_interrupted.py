"""Two runs at once, runs that are told to stop, and runs that are killed."""

import shutil
import time

import canaries
import pytest
from artifacts import figure
from running import SCHEDULER, UI, Running, all_healthy

OK, BUSY, INTERRUPTED = 0, 5, 8
MOMENTS = (0, 0.1, 0.5, 2, 3.5)
"""Seconds after the lock was taken; a run that replaces both containers takes at least five."""
PLAN = "ops-sqlmesh-plan"
MODEL = """\
MODEL (name marts.one, kind FULL, audits (not_null(columns := (one))));
SELECT 1::INT AS one
"""
MANAGED = ("/etc/ops-agent/ui-proxy.conf", "/etc/docker/daemon.json", "/etc/ops-agent/rds-ca.pem")


@pytest.fixture
def slow_aws(lab):
    """The next run waits a while for its parameters."""
    lab.faults({"call": "ssm:GetParametersByPath", "delay": 4, "times": 1})
    yield
    lab.faults()


def end(process, timeout=600):
    """Exit code and words of a run in the background."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, " ".join(f"{out}\n{err}".split())


def test_a_second_run_waits_and_says_for_whom(agent, slow_aws):
    first = agent.start_converge("--reason", "first")
    holder = agent.wait_for_holder()
    assert holder["reason"] == "first" and holder["command"] == "converge"
    second = agent.start_converge("--reason", "second")
    at_once = agent.converge("--no-wait")
    assert at_once.returncode == BUSY, at_once.text
    who = f"PID {holder['pid']} (converge, reason first, since "
    assert who in at_once.text, at_once.text
    shown = agent.status().text
    assert f"Running now: {who}" in shown, shown
    assert end(first)[0] == OK
    code, said = end(second)
    assert code == OK and who in said, said
    assert agent.report()["run"]["reason"] == "second"
    assert agent.holder() is None


def signalled(agent, process, name):
    """Send a signal to the run that holds the lock; returns its end and how long that took."""
    pid = agent.holder()["pid"]
    began = time.monotonic()
    agent.root(f"kill -{name} {pid}")
    code, said = end(process, 30)
    return code, said, time.monotonic() - began


def test_a_run_that_is_told_to_stop_while_it_fetches_stops(agent, slow_aws, running):
    process = agent.start_converge()
    agent.wait_for_holder()
    code, said, seconds = signalled(agent, process, "TERM")
    assert code == INTERRUPTED, said
    figure("SIGTERM while inputs are fetched: seconds to the end", round(seconds, 2))
    assert agent.report()["run"]["outcome"] == "interrupted"
    assert Running.on(agent).differs_from(running) == set()
    assert agent.converge().returncode == OK


def change_much(lab, number):
    """Settings that call for both containers and the proxy anew."""
    lab.put_parameter("ui/memory-mb", str(800 + number))
    lab.put_parameter("scheduler/interval-seconds", str(100 + number))
    lab.put_parameter("ui/allow", f"172.22.0.0/16, 172.{16 + number}.0.0/16")


def test_a_run_that_is_told_to_stop_while_it_changes_stops_and_the_next_one_finishes(agent, lab):
    change_much(lab, 1)
    process = agent.start_converge()
    agent.wait_for_holder()
    lab.wait_until("a container that is being replaced",
                   lambda: "previous" in agent.root("docker ps -a --format '{{.Names}}'"), 60, every=0.1)
    code, said, seconds = signalled(agent, process, "TERM")
    assert code == INTERRUPTED, said
    figure("SIGTERM while containers are replaced: seconds to the end", round(seconds, 2))
    assert "interrupted" in agent.outcomes().values()
    assert agent.converge().returncode == OK
    assert all_healthy(agent) and only_ours(agent)
    assert agent.report()["owed_restarts"] == []


def sizes(agent):
    return agent.root(f"stat -c '%n %s' {' '.join(MANAGED)}; find /etc/ops-agent /etc/docker -name '.*' -type f").splitlines()


def only_ours(agent):
    """That no container of an unfinished step is left."""
    return sorted(agent.root("docker ps -a --format '{{.Names}}'").split()) == [SCHEDULER, UI]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_is_finished_by_the_next(agent, lab, moment):
    change_much(lab, 2 + MOMENTS.index(moment))
    process = agent.start_converge()
    holder = agent.wait_for_holder()
    time.sleep(moment)
    agent.root(f"kill -KILL {holder['pid']}")
    end(process, 30)
    assert process.returncode != OK, "it was done before it was killed: the moment is too late"
    assert all(int(line.split()[1]) > 0 for line in sizes(agent) if " " in line), "a managed file is empty"
    done = agent.converge()
    assert done.returncode == OK, done.text
    assert agent.report()["owed_restarts"] == []
    assert agent.converge().returncode == OK
    assert agent.report()["run"]["outcome"] == "unchanged", agent.changed()
    assert all_healthy(agent) and only_ours(agent)
    assert [line for line in sizes(agent) if " " not in line] == [], "a temporary file is left"


def test_a_plan_whose_run_is_killed_is_taken_over(agent, lab, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(lab.project(), project)
    (project / "models" / "marts" / "one.sql").write_text(MODEL)
    lab.publish(project)
    process = agent.start_converge()
    holder = agent.wait_for_holder()
    lab.wait_until("a plan that runs", lambda: PLAN in agent.root("docker ps --format '{{.Names}}'"), 60, every=0.1)
    plan = agent.root(f"docker inspect -f '{{{{.Id}}}}' {PLAN}")
    inspected = agent.root(f"docker inspect {PLAN}")
    assert canaries.Search(agent, lab.canaries().values()).inside(inspected) == [], "docker shows the secrets of the plan"
    agent.root(f"kill -KILL {holder['pid']}")
    end(process, 30)
    second = agent.start_converge()
    again = lab.wait_until("the plan", lambda: agent.root(f"docker inspect -f '{{{{.Id}}}}' {PLAN} || true"), 60, every=0.1)
    assert again == plan, "the plan was begun anew while it ran"
    code, said = end(second)
    assert code == OK, said
    assert lab.database("warehouse").query("SELECT one FROM marts.one", "warehouse") == [["1"]]
    assert all_healthy(agent) and only_ours(agent)
