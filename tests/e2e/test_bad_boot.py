"""A boot that fails says so: once in the signal, in one line on the console and in the journal."""

import time

import pytest

NAME, ADDRESS = "bad-boot", "172.22.2.20"
REASON = "check installer: SHA-256 differs from SSM"


@pytest.fixture
def bad_host(lab, agent):
    """Another instance, booted while SSM names a wrong SHA-256 for the release's installer."""
    ssm, name = lab.client("ssm"), lab.addresses.RELEASE_PARAMETER
    version, key, sha256 = ssm.get_parameter(Name=name)["Parameter"]["Value"].split()
    wrong = ("0" if sha256[0] != "0" else "1") + sha256[1:]
    ssm.put_parameter(Name=name, Value=f"{version} {key} {wrong}", Type="String", Overwrite=True)
    host = lab.new_host(NAME, ADDRESS)
    yield host
    lab.terminate(host)


def test_a_release_that_is_not_what_ssm_names_is_not_run(lab, bad_host):
    def signals():
        return [one for one in lab.signals() if one["unique_id"].startswith(bad_host.instance_id)]

    lab.wait_until("signal of the failed boot", signals, 120)
    lab.wait_until("cloud-init of the failed boot", lambda: "1" in lab.run(
        bad_host, "ls /run/cloud-init/result.json 2>/dev/null | wc -l", check=False).stdout, 60)
    time.sleep(2)
    assert [(one["status"], one["unique_id"]) for one in signals()] == [("FAILURE", f"{bad_host.instance_id} {REASON}")]
    line = f"ops-agent: boot failed: {REASON}"
    console = [one.strip() for one in lab.console(bad_host).splitlines() if "boot failed" in one]
    assert console == [line]
    journal = lab.run(bad_host, "journalctl --no-pager -o cat -t ops-agent -p err").stdout.splitlines()
    assert journal == [line]
    assert lab.run(bad_host, "test -e /usr/bin/ops-agent", check=False).returncode == 1, "the agent was installed all the same"
