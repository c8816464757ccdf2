"""A converge with nothing to do: it changes nothing, asks AWS little, and costs little."""

import json

from artifacts import figure
from running import Running

BUDGET = 4
EXPECTED = ["s3:ListObjectsV2", "secretsmanager:BatchGetSecretValue", "ssm:GetParametersByPath"]
ACTION_NAMES = {"ListBucket": "ListObjectsV2"}
"""What access control calls an action, where the API calls it otherwise."""
MEASURE = """
import json, os, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
wall = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"exit": code, "wall_s": round(wall, 3), "cpu_s": round(used.ru_utime + used.ru_stime, 3),
                  "peak_rss_mb": round(used.ru_maxrss / 1024, 1)}))
"""


def measured(agent, *words, user="root"):
    """Exit code, wall and CPU seconds and peak memory of a command in the host."""
    return json.loads(agent.lab.run(agent.host, ["python3", "-c", MEASURE, *words], user=user).stdout)


def named(calls):
    return sorted(f"{call['service']}:{ACTION_NAMES.get(call['action'], call['action'])}" for call in calls)


def test_a_second_converge_changes_nothing(agent, lab, running):
    agent.converge()
    before = Running.on(agent)
    done = agent.converge()
    assert done.returncode == 0, done.text
    assert agent.report()["run"]["outcome"] == "unchanged"
    assert agent.changed() == []
    assert Running.on(agent).differs_from(before) == set()
    assert Running.on(agent).differs_from(running) == set()
    figure("no-op converge: AWS calls", named(done.calls))
    assert len(done.calls) <= BUDGET, named(done.calls)
    assert named(done.calls) == EXPECTED
    assert {call["status"] for call in done.calls} == {200}


def test_what_can_be_asked_at_the_same_time_is(agent, lab):
    lab.faults({"call": "*", "delay": 0.5})  # else an answer can be there before the next question
    done = agent.converge()
    lab.faults()
    assert done.returncode == 0, done.text
    by_service = {call["service"]: call for call in done.calls}
    ssm, s3, secrets = by_service["ssm"], by_service["s3"], by_service["secretsmanager"]
    assert ssm["start"] < s3["end"] and s3["start"] < ssm["end"], "SSM and S3 are asked one after the other"
    assert secrets["start"] >= max(ssm["end"], s3["end"]), "the settings say which secrets: they come before"
    figure("no-op converge: depth of AWS calls", lab.depth(done.calls))
    assert lab.depth(done.calls) == 2


def test_a_person_converges_with_sudo(agent, running):
    agent.runs += 1
    done = agent.lab.run(agent.host, ["sudo", "ops-agent", "converge"], user="ssm-user", check=False)
    assert done.returncode == 0, done.stderr
    assert agent.report()["run"]["reason"] == "manual"
    assert Running.on(agent).differs_from(running) == set()
    refused = agent.command("converge", user="ssm-user")
    assert refused.returncode == 1 and "root" in refused.text, refused.text


def test_a_plan_with_nothing_to_do_says_so(agent):
    done = agent.plan()
    assert done.returncode == 0, done.text
    assert "No changes" in done.stdout


def test_what_a_run_without_changes_costs(agent):
    cost = measured(agent, "ops-agent", "converge")
    assert cost.pop("exit") == 0
    figure("no-op converge: cost", cost)
    agent.runs += 1


def test_what_a_status_costs(agent):
    cost = measured(agent, "ops-agent", "status", user="ssm-user")
    assert cost.pop("exit") == 0
    figure("status of ssm-user: cost", cost)


def test_how_large_the_agent_is(agent):
    version = agent.command("version").stdout.split("\n")[0]
    figure("ops-agent: version and size in bytes", [version, int(agent.root("stat -c %s /usr/bin/ops-agent"))])
