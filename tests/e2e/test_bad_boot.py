"""A boot that fails says so: once in the signal, in one line on the console and in the journal."""

import contextlib

import pytest

NAME, ADDRESS = "bad-boot", "172.22.2.20"


@pytest.fixture
def boot(lab, agent):
    """Boots another instance of the stack, and waits for its signal."""
    hosts = contextlib.ExitStack()

    def boot_another():
        host = lab.new_host(NAME, ADDRESS)
        hosts.callback(lab.terminate, host)
        lab.wait_until("signal of the failed boot", lambda: signals(lab, host), 120)
        finished = "test -e /run/cloud-init/result.json && ! systemctl is-active -q ops-agent.service"
        lab.wait_until("end of the failed boot", lambda: lab.run(host, finished, check=False).returncode == 0, 60)
        return host

    with hosts:
        yield boot_another


def signals(lab, host):
    """The signals of a host: status, and what follows the instance id."""
    mine = [one for one in lab.signals() if one["unique_id"].split()[0] == host.instance_id]
    return [(one["status"], one["unique_id"].partition(" ")[2]) for one in mine]


def errors(lab, host):
    """What the agent and its installer said of it in the journal, at the priority of errors."""
    return lab.run(host, "journalctl --no-pager -o cat -t ops-agent -p err").stdout.splitlines()


def on_console(lab, host):
    return [line.strip() for line in lab.console(host).splitlines() if "failed: " in line]


def test_a_release_that_is_not_what_ssm_names_is_not_run(lab, boot):
    ssm, name = lab.client("ssm"), lab.addresses.RELEASE_PARAMETER
    version, key, sha256 = ssm.get_parameter(Name=name)["Parameter"]["Value"].split()
    wrong = ("0" if sha256[0] != "0" else "1") + sha256[1:]
    ssm.put_parameter(Name=name, Value=f"{version} {key} {wrong}", Type="String", Overwrite=True)
    host = boot()
    reason = "check installer: SHA-256 differs from SSM"
    assert signals(lab, host) == [("FAILURE", reason)]
    assert on_console(lab, host) == errors(lab, host) == [f"ops-agent: boot failed: {reason}"]
    assert lab.run(host, "test -e /usr/bin/ops-agent", check=False).returncode == 1, "the agent was installed all the same"


def test_settings_that_cannot_be_used(lab, boot):
    text = lab.settings().replace("interval_seconds = ", "every = ")
    lab.settings(text)
    host = boot()
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "every" in words)
    problem = f"sqlmesh-server.toml line {line}: unknown key scheduler.every"
    assert signals(lab, host) == [("FAILURE", problem[:44].rstrip())], "the id of a signal has 64 characters"
    (shown,) = on_console(lab, host)
    assert problem in shown
    assert [one for one in errors(lab, host) if problem in one]
    status = lab.run(host, "ops-agent status", user="ssm-user", check=False)
    assert status.returncode == 1 and "unknown key scheduler.every" in " ".join(status.stdout.split())
    assert lab.run(host, "docker ps", check=False).returncode != 0, "something was installed all the same"
