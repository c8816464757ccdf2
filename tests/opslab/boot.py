"""Watching a boot: its phases with times, and what it came to."""

import json
import subprocess
import time
import urllib.error
import urllib.request

from opslab import addresses, docker, observed, progress

SECONDS = 600


def inside(host, *command):
    """Whether a command run as root in the host succeeds."""
    return subprocess.run(["docker", "exec", host.container, *command], capture_output=True).returncode == 0


def ui_answers(host):
    """Whether the web interface answers, with whatever status, at the host's address."""
    try:
        with urllib.request.urlopen(f"http://{host.ip}:{addresses.UI_PORT}/health", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def phases(host, since):
    """What a boot goes through, in the usual order: a name and how to see that it was reached."""

    def called(service, action, resource=""):
        return any(call["service"] == service and call["action"] == action and resource in call["resource"]
                   and call["status"] < 300 and call["role"] == host.iam_role for call in observed.calls(since))

    return [
        ("systemd is up", lambda: inside(host, "test", "-S", "/run/systemd/private")),
        ("cloud-init has the user-data", lambda: any(
            request["path"].endswith("/user-data") and request["status"] == 200 for request in observed.imds(host, since))),
        ("release fetched", lambda: called("s3", "GetObject", "/releases/")),
        ("agent installed", lambda: inside(host, "test", "-x", "/usr/bin/ops-agent")),
        ("parameters read", lambda: called("ssm", "GetParametersByPath")),
        ("secrets read", lambda: called("secretsmanager", "BatchGetSecretValue")),
        ("docker is up", lambda: inside(host, "test", "-S", "/run/docker.sock")),
        ("registry login", lambda: called("ecr", "GetAuthorizationToken")),
        ("user interface answers", lambda: ui_answers(host)),
    ]


def finished(host, since):
    """Cloud-init's end, as (status, errors), or None while it runs."""
    done = subprocess.run(["docker", "exec", host.container, "cat", "/run/cloud-init/result.json"],
                          capture_output=True, text=True)
    if done.returncode:
        return None
    try:
        return json.loads(done.stdout)["v1"]["errors"]
    except (ValueError, KeyError):
        return None


def watch(host, since, with_agent, seconds=SECONDS):
    """Follow a boot to its end and say each phase. Returns {phase: seconds since the start}."""
    waiting, reached = phases(host, since), {}

    def mark(name):
        reached[name] = round(time.time() - since, 1)
        progress.say(host.name, f"{name} ({reached[name]:.1f} s after power-on)")

    signal, cloud_init = None, None
    while time.time() - since < seconds:
        for phase in list(waiting):
            if phase[1]():
                mark(phase[0])
                waiting.remove(phase)
        if cloud_init is None:
            cloud_init = finished(host, since)
            if cloud_init is not None:
                mark("cloud-init is done" if not cloud_init else f"cloud-init failed: {'; '.join(cloud_init)}")
        signal = next((one for one in observed.signals(since) if one["stack"] == host.stack), None)
        if signal:
            mark(f"signal {signal['status']}")
        if signal or (cloud_init is not None and (cloud_init or not with_agent)):
            return reached
        if not docker.running(host.container):
            raise progress.LabError(f"{host.name}: powered off while booting; see `tests/lab logs {host.name}`")
        time.sleep(1)
    raise progress.LabError(f"{host.name}: no end of the boot after {seconds} s; see `tests/lab logs {host.name}`")
