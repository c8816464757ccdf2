"""The units as systemd sees them, and how much of the machine they leave open."""

import os
import pathlib
import subprocess

import pytest

UNITS = pathlib.Path(__file__).resolve().parent.parent / "systemd/usr/lib/systemd/system"


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_systemd_understands_the_unit(unit):
    name = unit.name.removesuffix(".d")  # a drop-in is looked at with the unit that it belongs to
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", name], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{UNITS}:", "SYSTEMD_LOG_LEVEL": "warning"})
    ours = [line for line in done.stderr.splitlines() if unit.name in line or str(UNITS) in line]
    # The programs themselves are on hosts, not here.
    assert [line for line in ours if "is not executable: No such file" not in line] == []


@pytest.mark.parametrize(("unit", "exposure"), [
    # Package scripts run below it: the unit says what each of them needs. 6.4 when this was written.
    ("ops-agent.service", 65),
    ("ops-agent-status.service", 25),
    ("ops-ui-proxy.service", 15),
])
def test_the_unit_stays_as_closed_as_it_was(unit, exposure):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", UNITS / unit],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
