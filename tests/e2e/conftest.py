"""The one booted host that all of these tests share, and how each test leaves it.

A test may change the account and the host as it likes: whatever it changed of the account is put back
after it, and the host is converged, so that tests can run in any order and alone.
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from account_state import AccountState  # noqa: E402
from agent import Agent  # noqa: E402
from running import Running  # noqa: E402

HEALTHY_SECONDS = 300
SETTLED_SECONDS = 180


@pytest.fixture(scope="session")
def agent(lab):
    """The agent on the booted host, with no run of its own timer in between."""
    agent = Agent(lab)
    lab.wait_until("ops-agent status", lambda: agent.status().returncode == 0, HEALTHY_SECONDS, every=2)
    lab.wait_until("first run of the scheduler", lambda: agent.scheduler()["last"], HEALTHY_SECONDS, every=2)
    agent.root("systemctl stop ops-agent.timer")
    yield agent
    agent.root("systemctl start ops-agent.timer")


@pytest.fixture(scope="session")
def _account(lab, agent):
    return AccountState(lab)


@pytest.fixture(autouse=True)
def _left_as_it_was(request, lab):
    """Puts the account back after each test, and the host with it."""
    if "agent" not in request.fixturenames:
        yield
        return
    agent, account = request.getfixturevalue("agent"), request.getfixturevalue("_account")
    runs = agent.runs
    yield
    restored = account.restore()
    if restored or agent.runs != runs:
        done = agent.converge()
        assert done.returncode == 0, f"after the test, with {restored or 'nothing'} put back: {done.text}"
        # A scheduler whose database slept or whose password changed says so until its next run.
        lab.wait_until("ops-agent status after the test", lambda: agent.status().returncode == 0, SETTLED_SECONDS, every=2)


@pytest.fixture
def running(agent):
    """What runs on the host now: see `Running`."""
    return Running.on(agent)
