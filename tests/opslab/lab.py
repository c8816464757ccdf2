"""The lab for tests: everything that a test does to it or asks of it."""

import json
import pathlib
import subprocess
import time

from opslab import (
    account,
    addresses,
    aws,
    boot,
    bundle,
    docker,
    host as host_module,
    hosts,
    images,
    network,
    postgres,
    progress,
    registry,
    release,
)
from opslab.aws import as_role, client
from opslab.observed import calls, depth, imds, signals
from opslab.progress import LabError

__all__ = ["LabError", "addresses", "as_role", "calls", "client", "depth", "imds", "signals"]

SERVER = "sqlmesh-server"
SSM_USER = "ssm-user"


def known(name):
    """A host of the lab, by name or as it is."""
    if isinstance(name, hosts.Host):
        return name
    if name not in hosts.ALL:
        raise LabError(f"no host {name}; hosts: {', '.join(hosts.ALL)}")
    return hosts.ALL[name]


def run(host, command, user="root", check=True, timeout=300, text=None):
    """Run a shell command (or a list of arguments) in a host; returns a CompletedProcess with text."""
    words = ["bash", "-c", command] if isinstance(command, str) else list(command)
    done = subprocess.run(
        [*_exec(known(host), user, interactive=text is not None), *words],
        input=text,
        text=True,
        capture_output=True,
        timeout=timeout,
    )
    if check and done.returncode:
        raise LabError(f"{known(host).name}: `{command}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done


def shell_command(host, user, command, terminal):
    """The docker command line of `tests/lab shell`."""
    return [*_exec(known(host), user, interactive=True, terminal=terminal), *(command or ["bash", "-l"])]


def _exec(host, user, interactive=False, terminal=False):
    home = "/root" if user == "root" else f"/home/{user}"
    options = [
        "-u",
        user,
        "-w",
        home,
        "-e",
        f"HOME={home}",
        "-e",
        f"USER={user}",
        "-e",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    options += ["-i"] * interactive + ["-t"] * terminal
    return ["docker", "exec", *options, host.container]


def console(host):
    """What was written to the console of the host since it was made."""
    done = subprocess.run(["docker", "logs", known(host).container], capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr


def status(host=SERVER, user=SSM_USER):
    """The agent's status of the host as a dict, read as the unprivileged user."""
    return json.loads(run(host, "ops-agent status --json", user=user, check=False).stdout)


def converge(host=SERVER, *options):
    """Run `ops-agent converge`; returns the CompletedProcess and the AWS calls it made."""
    began = time.time()
    done = run(host, ["ops-agent", "converge", *options], check=False, timeout=900)
    return done, calls(began, role=known(host).iam_role)


def new_host(name, ip, user_data=None, like=SERVER):
    """Boot another instance of the same stack, for a test that wants its own. End it by `terminate`."""
    host = hosts.variant(known(like), name, ip)
    host_module.terminate(host)
    host_module.ensure(host, user_data)
    return host


def watch_boot(host, since, with_agent=True, seconds=boot.SECONDS):
    """Wait for the end of a boot; returns {phase: seconds}."""
    return boot.watch(known(host), since, with_agent, seconds)


def reboot(host=SERVER):
    host_module.reboot(known(host))


def crash(host=SERVER):
    host_module.crash(known(host))


def terminate(host):
    host_module.terminate(known(host))


def put_parameter(key, value):
    """Set a setting of the SQLMesh server, such as `scheduler/interval-seconds`."""
    account.put_parameter(f"{addresses.PARAMETERS}/{key}", value)


def delete_parameter(key):
    client("ssm").delete_parameter(Name=f"{addresses.PARAMETERS}/{key}")


def settings(text=None, key="config/sqlmesh-server.toml"):
    """The settings file in S3; with `text` it is replaced first."""
    if text is not None:
        client("s3").put_object(Bucket=addresses.ARTIFACTS, Key=key, Body=text.encode())
    return client("s3").get_object(Bucket=addresses.ARTIFACTS, Key=key)["Body"].read().decode()


def secret(name, value=None):
    """The JSON of a secret as a dict; with `value` it is replaced first."""
    if value is not None:
        client("secretsmanager").put_secret_value(SecretId=name, SecretString=json.dumps(value))
    return json.loads(client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])


def canaries():
    """The passwords that must be found nowhere but where they belong, by name."""
    return aws.remembered()["passwords"]


def publish(directory):
    """Publish a SQLMesh project; returns the SHA-256 of its bundle."""
    return bundle.publish(directory)


def publish_release(directory):
    return release.publish(directory)


def policy(host=SERVER, document=None):
    """The inline policy of the host's role; with `document` it is replaced first."""
    role = known(host).iam_role
    if document is not None:
        client("iam").put_role_policy(RoleName=role, PolicyName="agent", PolicyDocument=json.dumps(document))
    return client("iam").get_role_policy(RoleName=role, PolicyName="agent")["PolicyDocument"]


def default_policy(host=SERVER):
    return account.policy(known(host))


def faults(*wanted):
    """Make AWS calls slow or fail: see inside/aws/faults.py. Without arguments: none any more."""
    aws.faults_file().write_text(json.dumps(list(wanted)))


def aws_reachable(reachable):
    """Refuse hosts every connection to AWS, or let them in again; the account is kept."""
    command = "nginx" if reachable else "nginx -s stop"
    docker.run("exec", addresses.container("aws"), "sh", "-c", command)


def database(name="db"):
    """A database: `.sleep(wake_after=)`, `.wake()`, `.status()`, `.query(sql, database)`."""
    return postgres.ALL[name]


def wait_until(what, question, seconds=60, every=0.5):
    """Ask until the answer is true and return it; LabError naming `what` after `seconds`."""
    return progress.wait_until(what, question, seconds, every)


def url(host=SERVER):
    return f"http://{known(host).ip}:{addresses.UI_PORT}"


def project():
    return pathlib.Path(addresses.ROOT / "tests" / "project")


def parts():
    """Every part of the lab with whether it runs, in the order in which `up` starts them."""
    names = ["dns", "aws", "registry", *postgres.ALL]
    for host in hosts.ALL.values():
        names += [host.network_part, host.name]
    return {name: docker.running(addresses.container(name)) for name in names}


def services_up():
    """Everything but the hosts."""
    docker.ensure_daemon()
    images.services()
    network.ensure()
    network.ensure_resolver()
    aws.ensure()
    account.ensure()
    for one in postgres.ALL.values():
        one.ensure()
    registry.ensure()
