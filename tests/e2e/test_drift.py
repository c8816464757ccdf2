"""What people or accidents change on a host, the next converge puts back; nothing else does it touch."""

import pytest
from running import DOCKER, PROXY, SCHEDULER, UI, Running, all_healthy

CONFIG = "/etc/ops-agent/ui-proxy.conf"
SECRET = "/run/ops-agent/secrets/sqlmesh/STATE_DB_PASSWORD"
CURRENT = "/var/lib/ops-agent/sqlmesh/current"
DRIFTS = [
    pytest.param(f"echo '# by hand' >>{CONFIG}", {f"file:{CONFIG}", f"unit:{PROXY}"}, {PROXY}, id="a file edited"),
    pytest.param(f"chmod 0666 {CONFIG}", {f"file:{CONFIG}", f"unit:{PROXY}"}, {PROXY}, id="a mode changed"),
    pytest.param(f"systemctl disable -q --now {PROXY}", {f"unit:{PROXY}"}, {PROXY}, id="a unit stopped"),
    pytest.param(f"docker rm -f {UI}", {f"container:{UI}"}, {UI}, id="a container removed"),
    pytest.param(f"docker kill {SCHEDULER}", {f"container:{SCHEDULER}"}, {SCHEDULER}, id="a container killed"),
    pytest.param(f"rm {SECRET}", {"secrets:sqlmesh"}, set(), id="a secret removed"),
    pytest.param(f"ln -sfn /nowhere {CURRENT}", {f"symlink:{CURRENT}"}, set(), id="a link moved"),
]


@pytest.mark.parametrize("command, changed, restarted", DRIFTS)
def test_it_is_put_back(agent, running, command, changed, restarted):
    agent.root(command)
    plan = agent.plan()
    assert plan.returncode == 6, plan.text
    done = agent.converge()
    assert done.returncode == 0, done.text
    # What ran before is started again as it was, before anything that could fail; that is a resource of its own.
    assert {name.removesuffix(" as it was") for name in agent.changed()} == changed
    assert Running.on(agent).differs_from(running) == restarted
    assert all_healthy(agent)


def test_docker_restarts_without_its_containers(agent, running):
    agent.root(f"systemctl restart {DOCKER}")
    assert Running.on(agent).differs_from(running) == {DOCKER}
    rules = agent.root("iptables -S DOCKER-USER | grep -c -e DROP").strip()
    assert rules == "1", "the rule against neighbours is there more than once, or not at all"
    done = agent.converge()
    assert done.returncode == 0 and agent.changed() == [], done.text
