"""Docker, through its command line: the daemon, and containers that are what their recipe says."""

import hashlib
import json
import os
import shutil
import subprocess
import time

from opslab import addresses, progress

# Carries the fingerprint of the recipe that a container was made by.
LABEL = "ops-lab.recipe"
# Carries the directory in which the lab that made a container keeps its state: secrets, certificates, ids.
STATE_LABEL = "ops-lab.state"
DAEMON_SECONDS = 60


def run(*arguments, check=True, text=None, timeout=600):
    """Run a docker command and return its standard output."""
    done = subprocess.run(
        ["docker", *map(str, arguments)],
        input=text,
        text=True,
        timeout=timeout,
        capture_output=True,
        env={**os.environ, "DOCKER_CLI_HINTS": "false"},
    )
    if check and done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip() and "--help" not in line]
        raise progress.LabError(f"docker {' '.join(map(str, arguments[:2]))} failed: {said[-1] if said else 'no message'}")
    return done.stdout.strip()


def answers():
    """Whether a daemon is running."""
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def ensure_daemon():
    """Start dockerd if none runs. It outlives this command; its log is in the lab's state."""
    if answers():
        return
    if not shutil.which("dockerd"):
        raise progress.LabError("docker: dockerd is not installed; run `tests/lab`, which installs docker.io")
    log = addresses.STATE / "dockerd.log"
    progress.say("docker", f"starting dockerd (log: {log})")
    log.parent.mkdir(parents=True, exist_ok=True)
    for stale in ("/var/run/docker.pid", "/run/docker/containerd/containerd.pid"):
        if os.path.exists(stale) and not _alive(stale):
            os.unlink(stale)
    with open(log, "ab") as stream:
        daemon = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
    end = time.monotonic() + DAEMON_SECONDS
    while not answers():
        if time.monotonic() > end or daemon.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise progress.LabError(f"docker: dockerd does not answer; it said: {said[0]} (see {log})")
        time.sleep(0.2)


def _alive(pid_file):
    try:
        with open(pid_file, encoding="ascii") as stream:
            return os.path.exists(f"/proc/{int(stream.read())}")
    except ValueError:
        return False


def inspect(name):
    """What docker knows of a container, or None."""
    found = run("inspect", "--type", "container", name, check=False)
    return json.loads(found)[0] if found and found != "[]" else None


def running(name):
    state = inspect(name)
    return bool(state and state["State"]["Running"])


def started_at(name):
    """When the container last started, as docker's sortable text; empty if there is none."""
    state = inspect(name)
    return state["State"]["StartedAt"] if state else ""


def remove(*names):
    if names:
        run("rm", "-f", "-v", *names, check=False)


def image_exists(tag):
    return bool(run("images", "-q", tag, check=False))


def recipe(image, options, command=(), also=""):
    """The fingerprint of everything that a container is made from."""
    return hashlib.sha256(json.dumps([image, list(options), list(command), also]).encode()).hexdigest()[:16]


def recipe_of(name):
    """The fingerprint of the recipe that a container was made by; empty if there is none."""
    state = inspect(name)
    return state["Config"]["Labels"].get(LABEL, "") if state else ""


def ensure_container(part, image, options, command=(), also=""):
    """Make the container of `part` run by this recipe; remake it if it was made by another.

    `also` is anything else that must make a new container when it changes. Returns "made",
    "started" or "running".
    """
    name = addresses.container(part)
    wanted = recipe(image, options, command, also)
    state = inspect(name)
    if state and state["Config"]["Labels"].get(LABEL) != wanted:
        remove(name)
        state = None
    if not state:
        labels = ["--label", f"{LABEL}={wanted}", "--label", f"{STATE_LABEL}={addresses.STATE}"]
        run("run", "-d", "--name", name, *labels, *options, image, *command)
        return "made"
    if not state["State"]["Running"]:
        run("start", name)
        return "started"
    return "running"


def containers():
    """The names of all containers of the lab, running or not."""
    return run("ps", "-a", "--format", "{{.Names}}", "-f", f"label={LABEL}").split()


def foreign_states():
    """Where other labs keep the state of containers that are here; empty when all are of this one."""
    states = {inspect(name)["Config"]["Labels"].get(STATE_LABEL, "an unknown place") for name in containers()}
    return sorted(states - {str(addresses.STATE)})


def on_network(address):
    """Options that give a container its place in the lab's network."""
    resolver = addresses.STATE / "resolv.conf"
    return ["--network", addresses.NETWORK, "--ip", address, "-v", f"{resolver}:/etc/resolv.conf:ro"]


def last_lines(name, count=3):
    """The end of a container's log, for an error message."""
    done = subprocess.run(["docker", "logs", "--tail", str(count), name], capture_output=True, text=True)
    return " | ".join((done.stdout + done.stderr).strip().splitlines()[-count:])


def wait_healthy(part, question, seconds=60):
    """Wait for a part to answer; on failure say what its log says."""
    name = addresses.container(part)
    end = time.monotonic() + seconds
    while not question():
        if time.monotonic() > end or not running(name):
            raise progress.LabError(f"{part}: does not answer; its log ends: {last_lines(name)}")
        time.sleep(0.2)
