"""Watching a boot: its phases with times, and what it came to."""

import json
import subprocess
import time
import urllib.error
import urllib.request

from opslab import addresses, docker, observed, progress

SECONDS = 900
PAUSE = 1.0

# What can be seen in the file system of a host, in the usual order: phase and path.
FILES = {
    "systemd is up": "/run/systemd/private",
    "agent installed": "/usr/bin/ops-agent",
    "docker is up": "/run/docker.sock",
}
CLOUD_INIT_RESULT = "/run/cloud-init/result.json"

# What can be seen in the AWS calls of a host's role: phase, service, action, part of the resource.
CALLS = (
    ("release fetched", "s3", "GetObject", "/releases/"),
    ("parameters read", "ssm", "GetParametersByPath", ""),
    ("secrets read", "secretsmanager", "BatchGetSecretValue", ""),
    ("registry login", "ecr", "GetAuthorizationToken", ""),
)


def ui_answers(host):
    """Whether the user interface is healthy, seen from outside the host."""
    try:
        with urllib.request.urlopen(f"http://{host.ip}:{addresses.UI_PORT}/health", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def files_of(host):
    """Which of FILES exist, and cloud-init's errors as a list once it is done (else None). One docker exec."""
    script = "".join(f"[ -e {path} ] && echo {path}; " for path in FILES.values())
    said = subprocess.run(
        ["docker", "exec", host.container, "sh", "-c", f"{script} cat {CLOUD_INIT_RESULT} 2>/dev/null"],
        capture_output=True,
        text=True,
    ).stdout
    paths, brace, rest = said.partition("{")
    errors = json.loads(brace + rest)["v1"]["errors"] if rest.strip().endswith("}") else None
    return set(paths.split()), errors


def phases_now(host, since):
    """The phases that the host has reached, and cloud-init's errors once it is done."""
    present, errors = files_of(host)
    reached = [phase for phase, path in FILES.items() if path in present]
    if any(asked["path"].endswith("/user-data") and asked["status"] == 200 for asked in observed.imds(host, since)):
        reached.append("cloud-init has the user-data")
    calls = [call for call in observed.calls(since, host.iam_role) if call["status"] < 300 and call["source"] == host.ip]
    for phase, service, action, resource in CALLS:
        if any((call["service"], call["action"]) == (service, action) and resource in call["resource"] for call in calls):
            reached.append(phase)
    if "docker is up" in reached and ui_answers(host):
        reached.append("user interface is healthy")
    if errors is not None:
        reached.append(f"cloud-init failed: {'; '.join(errors)}" if errors else "cloud-init is done")
    return reached, errors


def watch(host, since, with_agent, seconds=SECONDS):
    """Follow a boot to its end and say each phase.

    Returns {phase: seconds since power-on}; the last phase is the signal's, if one came: `signal SUCCESS`.
    """
    times = {}
    while True:
        # Signals first: what was reached before one is then never missed. A failure before the agent is
        # there carries its reason in the unique id, after the instance's.
        signal = next(
            (
                one
                for one in observed.signals(since)
                if one["stack"] == host.stack and one["unique_id"].split()[:1] == [host.instance_id]
            ),
            None,
        )
        reached, errors = phases_now(host, since)
        for phase in reached + ([f"signal {signal['status']}"] if signal else []):
            if phase not in times:
                times[phase] = round(time.time() - since, 1)
                progress.say(host.name, f"{phase} ({times[phase]:.1f} s after power-on)")
        if signal and " " in signal["unique_id"]:
            progress.say(host.name, f"reason: {signal['unique_id'].partition(' ')[2]}")
        if signal or errors or (errors is not None and not with_agent):
            return times
        if not docker.running(host.container):
            raise progress.LabError(f"{host.name}: powered off while booting; see `tests/lab logs {host.name}`")
        if time.time() - since > seconds:
            raise progress.LabError(f"{host.name}: neither signal nor failure after {seconds} s; see `tests/lab logs {host.name}`")
        time.sleep(PAUSE)
