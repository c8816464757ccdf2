"""The command line of the lab: parse, call the library, print."""

import argparse
import concurrent.futures
import fcntl
import json
import os
import subprocess
import sys
import time

import botocore.exceptions

from opslab import account, addresses, aws, boot, bundle, docker, host as host_module, hosts, images, lab, postgres, progress
from opslab import registry, release

# After a reboot the agent converges once before its status is good.
RESTART_SECONDS = 120
LOCK = "/run/lock/ops-lab.lock"


def up(options):
    """Start what is not running, and boot the hosts."""
    docker.ensure_daemon()
    if foreign := docker.foreign_states():
        # Its containers know secrets and certificates that this lab does not.
        progress.say("lab", f"what is here belongs to another lab, of {', '.join(foreign)}: it is removed")
        remove_everything()
    published = ""
    with concurrent.futures.ThreadPoolExecutor() as lane:
        with_agent = release.available() and not options.stub and not options.no_host
        built = lane.submit(lambda: options.release or release.build()) if with_agent else None
        lab.services_up()
        registry.publish_sqlmesh() if not options.no_image else None
        publish_project()
        images.host() if not options.no_host else None
        if built:
            published = release.publish(built.result())
    if options.no_host:
        return 0
    host = hosts.SQLMESH_SERVER
    user_data = release.user_data(host, options.stub)
    if not options.keep_host and host_module.made_from(host) not in ("", user_data + published):
        progress.say(host.name, "its release or user-data changed: the host is replaced")
        host_module.terminate(host)
    began = time.time()
    state = host_module.ensure(host, user_data, published)
    progress.say(host.name, f"{host.ip} {state}")
    return finish(host, state, began, with_agent)


def finish(host, state, began, with_agent):
    """Wait for the end of the boot, then show the status as an unprivileged user sees it, and the URL."""
    failed = False

    def healthy():
        return lab.run(host, "ops-agent status", lab.SSM_USER, check=False).returncode == 0

    if state == "made":
        times = boot.watch(host, began, with_agent)
        failed = not (with_agent and "signal SUCCESS" in times) and not (not with_agent and "cloud-init is done" in times)
    if with_agent:
        if state != "made" and not healthy():
            progress.say(host.name, "waiting for its services, as after a reboot…")
            end = time.monotonic() + RESTART_SECONDS
            while not healthy() and time.monotonic() < end:
                time.sleep(2)
        shown = lab.run(host, "ops-agent status", lab.SSM_USER, check=False)
        sys.stdout.write(shown.stdout + shown.stderr)
        failed = failed or shown.returncode != 0
    print(lab.url(host))
    if failed:
        progress.say("error", f"{host.name} is not what it should be; see `tests/lab logs {host.name}`")
    return int(failed)


def publish_project():
    """The example project, unless the account names one already."""
    if not lab.project().is_dir():
        return
    names = lab.client("ssm").get_parameters(Names=[addresses.BUNDLE_PARAMETER])["Parameters"]
    if not names:
        bundle.publish(lab.project())


def down(options):
    """Stop everything. Images stay; data goes unless told otherwise."""
    docker.ensure_daemon()
    remove_everything(keep_data=options.keep_data, registry_too=options.all)
    if options.all:
        for tag in docker.run("images", "--format", "{{.Repository}}:{{.Tag}}", "ops-lab/*").split():
            docker.run("rmi", "-f", tag, check=False)
    return 0


def remove_everything(keep_data=False, registry_too=False):
    """Containers, network, volumes and what was recorded; images stay."""
    ours = docker.containers()
    docker.remove(*ours)
    progress.say("lab", f"{len(ours)} containers removed")
    if not keep_data:
        for volume in docker.run("volume", "ls", "-q", "-f", f"name=^{addresses.NETWORK}-").split():
            if registry_too or not volume.endswith("-registry"):
                docker.run("volume", "rm", "-f", volume, check=False)
    account.forget()
    for record in aws.RECORD.glob("*.jsonl"):
        record.unlink()
    docker.run("network", "rm", addresses.NETWORK, check=False)


def status(_options):
    """One line a part. Exit code 1 if one is down."""
    if not docker.answers():
        print("docker           down")
        return 1
    parts = lab.parts()
    for name, running in parts.items():
        print(f"{name:<20} {'up' if running else 'down'}")
    for name, database in postgres.ALL.items():
        if parts[name]:
            print(f"{name:<20} {json.dumps(database.status())}")
    print(f"{'calls recorded':<20} {len(lab.calls())}")
    for signal in lab.signals()[-3:]:
        print(f"{'signal':<20} {signal['stack']}/{signal['resource']} {signal['status']} from {signal['unique_id']}")
    return 0 if all(parts.values()) else 1


def shell(options):
    """A shell, or one command, in a host."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = lab.shell_command(options.host, options.user, options.command, terminal)
    os.execvp(words[0], words)


def logs(options):
    """The console of a host, then its journal."""
    host = lab.known(options.host)
    print(lab.console(host), end="")
    print("\n--- journal ---", flush=True)
    follow = ["-f"] if options.follow else []
    return subprocess.run(
        ["docker", "exec", host.container, "journalctl", "--no-pager", "-o", "short-precise", "-n", str(options.lines), *follow]
    ).returncode


def publish(options):
    """Publish a SQLMesh project; its SHA-256 goes to stdout."""
    print(bundle.publish(options.directory))
    return 0


def publish_release(options):
    """Publish a release, by default that of the current sources, and name it in the account."""
    print(release.publish(options.directory or release.build()))
    return 0


def url(_options):
    print(lab.url())
    return 0


def database(options):
    """Control a database."""
    one = postgres.ALL[options.name]
    if options.verb == "sleep":
        one.sleep(options.wake_after, options.mode)
    elif options.verb == "wake":
        one.wake()
    elif options.verb == "reset":
        one.reset_counts()
    print(json.dumps(one.status()))
    return 0


def reboot(options):
    host = lab.known(options.host)
    lab.crash(host) if options.crash else lab.reboot(host)
    return 0


def terminate(options):
    host_module.terminate(lab.known(options.host))
    return 0


def calls(options):
    """Recorded AWS calls, one JSON line each."""
    for call in lab.calls(time.time() - options.last if options.last else 0):
        print(json.dumps(call))
    return 0


def build(_options):
    """Build every image and the release, and start nothing."""
    docker.ensure_daemon()
    for make in (images.services, images.host, registry.sqlmesh_image):
        make()
    if release.available():
        release.build()
    return 0


def parser():
    made = argparse.ArgumentParser(prog="tests/lab", description="An emulated AWS account in which hosts boot.")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, description):
        one = commands.add_parser(name, help=description, description=description)
        one.set_defaults(function=function)
        return one

    one = command("up", up, "start the lab and boot the host")
    one.add_argument("--no-host", action="store_true", help="everything but the host")
    one.add_argument("--no-image", action="store_true", help="without the SQLMesh image")
    one.add_argument("--keep-host", action="store_true", help="do not replace a host whose release or user-data changed")
    one.add_argument("--stub", action="store_true", help="boot a host that installs no agent")
    one.add_argument("--release", metavar="DIR", help="a release that is built already (target/dist/VERSION)")
    one = command("down", down, "stop the lab and forget its data; images and the registry's content stay")
    one.add_argument("--keep-data", action="store_true", help="keep the databases")
    one.add_argument("--all", action="store_true", help="remove images and the registry's content too")
    command("status", status, "what is up")
    one = command("shell", shell, "a shell or a command in a host")
    one.add_argument("host")
    one.add_argument("--user", default="root")
    one = command("logs", logs, "console and journal of a host")
    one.add_argument("host")
    one.add_argument("-n", "--lines", type=int, default=1000)
    one.add_argument("-f", "--follow", action="store_true")
    one = command("publish", publish, "publish a SQLMesh project")
    one.add_argument("directory")
    one = command("release", publish_release, "publish a release, by default that of the current sources")
    one.add_argument("directory", nargs="?")
    command("url", url, "address of the user interface")
    one = command("db", database, "make a database sleep or wake, or show its counts")
    one.add_argument("verb", choices=["status", "sleep", "wake", "reset"])
    one.add_argument("--name", choices=list(postgres.ALL), default="db")
    one.add_argument("--wake-after", type=float, default=15.0, help="seconds that the first connection waits")
    one.add_argument("--mode", choices=["hold", "refuse"], default="hold")
    one = command("reboot", reboot, "reboot a host")
    one.add_argument("host")
    one.add_argument("--crash", action="store_true", help="cut the power instead")
    one = command("terminate", terminate, "end a host; the next `up` boots a new one")
    one.add_argument("host")
    one = command("calls", calls, "the recorded AWS calls")
    one.add_argument("--last", type=float, help="of the last so many seconds")
    command("build", build, "build images and release only")
    return made


def main():
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    addresses.STATE.mkdir(parents=True, exist_ok=True)
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    options = parser().parse_args(words[:at])
    options.command = words[at + 1 :]
    try:
        if options.function not in (up, down, terminate, build):
            return options.function(options)
        # Two at a time would make the same containers.
        with open(LOCK, "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say("lab", "waiting for another tests/lab to end…")
                fcntl.flock(lock, fcntl.LOCK_EX)
            return options.function(options)
    except progress.LabError as error:
        progress.say("error", str(error))
        return 1
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        log = docker.last_lines(addresses.container("aws"), 1)
        progress.say("error", f"aws: {str(error).splitlines()[0]}; its log ends: {log}")
        return 1
    except KeyboardInterrupt:
        return 130
