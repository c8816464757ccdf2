"""A host that is rebooted, or loses its power, is back without help."""

import time

import pytest
from artifacts import figure
from running import all_healthy
from test_secrets import SECRETS

SECONDS = 240


@pytest.mark.parametrize("way", ["reboot", "crash"])
def test_services_are_back_without_help(agent, lab, way):
    signals = len(lab.signals())
    secrets = agent.root(f"cd {SECRETS} && find . -type f | sort")
    assert secrets
    began = time.time()
    getattr(lab, way)(agent.host)
    lab.wait_until("systemd", lambda: agent.root("systemctl is-system-running", check=False).strip() == "running", SECONDS)
    lab.wait_until("status after the reboot", lambda: back(agent, began), SECONDS, every=1)
    figure(f"{way}: seconds until status is well", round(time.time() - began, 1))
    assert all_healthy(agent)
    assert agent.report()["run"]["reason"] == "boot"
    assert agent.root(f"cd {SECRETS} && find . -type f | sort") == secrets
    assert agent.root(f"findmnt -n -o FSTYPE -T {SECRETS}").strip() == "tmpfs"
    assert len(lab.signals()) == signals, "a reboot signalled once more"
    agent.root("systemctl stop ops-agent.timer")


def back(agent, began):
    """Whether a run since the reboot is done and all is well."""
    from datetime import datetime

    text = agent.root("cat /var/lib/ops-agent/report.json", check=False)
    if not text or agent.status().returncode != 0:
        return False
    return datetime.fromisoformat(agent.report()["run"]["started"]).timestamp() > began - 1
