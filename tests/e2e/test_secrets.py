"""Each secret holds a canary. It is found where it belongs, and nowhere else."""

import canaries
import pytest
from artifacts import figure
from canaries import FILE
from running import SCHEDULER, UI, Running

SECRETS = "/run/ops-agent/secrets"
LASTING = "^(overlay|ext[234]|xfs|btrfs|zfs|fuse.*)$"
"""File systems that outlive a boot."""


@pytest.fixture(scope="module")
def search(agent, lab):
    with canaries.search(agent, lab.canaries().values()) as made:
        yield made


def test_the_search_finds_what_is_there(search):
    found = search.lines(f"grep -rlaFf {FILE} {SECRETS}")
    assert {line.rpartition("/")[2] for line in found} == {"STATE_DB_PASSWORD", "WAREHOUSE_PASSWORD"}


def test_secret_files_are_on_tmpfs_and_only_their_consumer_reads_them(agent):
    files = agent.root(f"find {SECRETS} -type f -printf '%m %p\\n'").splitlines()
    assert files
    assert agent.root(f"findmnt -n -o FSTYPE -T {SECRETS}").strip() == "tmpfs"
    for mode, path in (line.split() for line in files):
        assert int(mode, 8) & 0o077 == 0, f"{path} has mode {mode}"
        refused = agent.lab.run(agent.host, ["cat", path], user="ssm-user", check=False)
        assert refused.returncode != 0 and "Permission denied" in refused.stderr, path
    listed = agent.lab.run(agent.host, ["ls", SECRETS], user="ssm-user", check=False)
    assert listed.returncode != 0, listed.stdout


def test_no_disk_has_one(agent, search):
    mounts = agent.root("findmnt -rn -o TARGET,FSTYPE").splitlines()
    # What is mounted below overlay2 shows once more what lies below /var/lib/docker.
    lasting = f"findmnt -rn -o TARGET,FSTYPE | awk '$2 ~ /{LASTING}/ {{print $1}}' | grep -v /overlay2/"
    disks = agent.root(lasting).split()
    assert {"/", "/var/lib/docker"} <= set(disks), mounts
    found = f"find {' '.join(disks)} -xdev -type f -size +0 -print0 | xargs -0 -r grep -laFf {FILE} 2>/dev/null"
    assert search.lines(found) == []


def test_docker_shows_none(search):
    assert search.lines(f"docker inspect $(docker ps -aq) $(docker images -q) | grep -naFf {FILE}") == []


def test_no_log_has_one(agent, search):
    assert search.lines(f"journalctl --no-pager -a -o export | grep -aFf {FILE} | head -n 5") == []
    assert search.inside(agent.lab.console(agent.host)) == []


def test_no_argument_of_a_process_has_one(search):
    assert search.lines(f"grep -laFf {FILE} /proc/[0-9]*/cmdline 2>/dev/null") == []


def test_only_the_consumers_have_them_in_their_environment(agent, search):
    found = search.lines(f"grep -laFf {FILE} /proc/[0-9]*/environ 2>/dev/null")
    pids = {int(line.split("/")[2]) for line in found}
    running = Running.on(agent)
    assert {running.pid(UI), running.pid(SCHEDULER)} <= pids, "a consumer lacks its secrets"
    ids = [running.container_id(name) for name in (UI, SCHEDULER)]
    for pid in pids:
        group = agent.root(f"cat /proc/{pid}/cgroup 2>/dev/null || true")
        assert not group or any(one in group for one in ids), f"process {pid} ({group.strip()}) has a secret"
    refused = agent.lab.run(agent.host, ["cat", f"/proc/{running.pid(UI)}/environ"], user="ssm-user", check=False)
    assert refused.returncode != 0


def test_nothing_that_the_agent_says_has_one(agent, search):
    said = {
        "plan": agent.plan().text,
        "config": agent.command("config").text,
        "status": agent.status().text,
        "status --json": agent.command("status", "--json", user="ssm-user").text,
        "status of root": agent.command("status").text,
        "converge": agent.converge("--reason", "secrets").text,
        "report": agent.root("cat /var/lib/ops-agent/report.json"),
        "health": agent.root("cat /run/ops-agent/health.json"),
    }
    for name, text in said.items():
        assert text, f"{name} says nothing"
        assert search.inside(text) == [], f"{name} shows a secret"
    assert agent.lab.addresses.STATE_SECRET in said["config"]
    figure("secrets: shapes of canaries looked for", len(search.shapes))
