"""A host: a container that boots systemd and cloud-init, as an EC2 instance does.

Two containers make one host. The first owns the network, with the metadata service in it, and is
there before the host boots. The second is the host; nothing enters it but its user-data.
"""

import datetime
import json
import secrets

from opslab import addresses, aws, docker, images, progress, release

# What a host may do: everything that an instance needs, and less than `--privileged`, which needs
# a capability (SYS_RESOURCE) that machines for tests often lack.
CAPABILITIES = (
    "SYS_ADMIN",
    "NET_ADMIN",
    "SYS_PTRACE",
    "MKNOD",
    "SYS_CHROOT",
    "NET_RAW",
    "AUDIT_CONTROL",
    "SYS_NICE",
    "IPC_LOCK",
    "SETPCAP",
)
STOP_SECONDS = 30


def become_instance(host, user_data, published):
    """A host that is made is a new instance: a new id, its user-data, nothing recorded yet."""
    host.state.mkdir(parents=True, exist_ok=True)
    (host.state / "id").write_text(f"i-{secrets.token_hex(9)[:17]}")
    (host.state / "user-data").write_text(user_data or release.user_data(host))
    (host.state / "release").write_text(published)
    (host.state / "imds.jsonl").unlink(missing_ok=True)


def made_from(host):
    """The user-data and the release that the host was made from; empty if there is no host."""
    if not docker.inspect(host.container):
        return ""
    return "".join((host.state / name).read_text() for name in ("user-data", "release") if (host.state / name).exists())


def launch(host):
    """RunInstances, unless this account knows the instance already."""
    ec2 = aws.client("ec2")
    identity = host.instance_id
    at_address = instances_at(host)
    if identity in at_address:
        return
    if at_address:
        ec2.terminate_instances(InstanceIds=at_address)
    subnet = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": [host.subnet]}])["Subnets"][0]
    made = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        ImageId="ami-0d3d85815a9746bc5",
        InstanceType=host.type,
        ClientToken=identity,
        SubnetId=subnet["SubnetId"],
        PrivateIpAddress=host.ip,
        IamInstanceProfile={"Name": host.iam_role},
        UserData=(host.state / "user-data").read_text(),
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags(host).items()]}
        ],
    )
    if made["Instances"][0]["InstanceId"] != identity:
        raise progress.LabError(f"{host.name}: RunInstances did not take the id {identity}")


def instances_at(host):
    """The ids of the running instances at the host's address."""
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    return [
        instance["InstanceId"]
        for reservation in aws.client("ec2").describe_instances(Filters=running)["Reservations"]
        for instance in reservation["Instances"]
        if instance["PrivateIpAddress"] == host.ip
    ]


def tags(host):
    """The tags of the instance, which its metadata shows too."""
    return {"Name": host.tag_name, "ops-vpc-role": host.role}


def describe(host):
    """Write what the metadata service tells the host."""
    octets = [int(part) for part in host.ip.split(".")]
    description = {
        "id": host.instance_id,
        "ip": host.ip,
        "name": host.name,
        "role": host.iam_role,
        "type": host.type,
        "account": addresses.ACCOUNT,
        "region": addresses.REGION,
        "zone": addresses.ZONE,
        "subnet": addresses.SUBNETS[host.subnet],
        "image": "ami-0d3d85815a9746bc5",
        "mac": "02:42:" + ":".join(f"{octet:02x}" for octet in octets),
        "tags": tags(host),
        "launched": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws": addresses.AWS_ENDPOINT,
        "operator": aws.remembered()["operator"],
        "generation": aws.generation(),
    }
    path = host.state / "instance.json"
    path.touch(mode=0o600)
    new = host.state / "instance.json.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps(description, indent=2))
    new.rename(path)


def ensure(host, user_data=None, published=""):
    """Boot the host unless it is up. Returns "made", "started" or "running".

    `published` is the release that its user-data will find, kept to notice that it changed.
    """
    image = images.host()
    existed = docker.inspect(host.container)
    if not existed:
        become_instance(host, user_data, published)
    launch(host)
    describe(host)
    network = docker.ensure_container(
        host.network_part,
        images.services(),
        [*docker.on_network(host.ip), "--cap-add", "NET_ADMIN", "-v", f"{host.state}:/lab"],
        ["python3", "/opt/opslab/inside/imds.py"],
    )
    docker.wait_healthy(host.network_part, lambda: metadata_answers(host), 20)
    if existed and network == "made":
        progress.say(host.name, "its network was made anew: so is the host")
        docker.remove(host.container)
        return ensure(host, user_data, published)
    if existed and network == "started":
        docker.run("stop", "-t", STOP_SECONDS, host.container, timeout=STOP_SECONDS + 30)
    # A console of its own (-t) makes what is written to /dev/console part of `docker logs`.
    options = [
        "-t",
        "--network",
        f"container:{addresses.container(host.network_part)}",
        "--device",
        "/dev/net/tun",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
        "--security-opt",
        "systempaths=unconfined",
        "--cgroupns",
        "host",
        "-e",
        "container=docker",
        "--tmpfs",
        "/run:exec",
        "--tmpfs",
        "/run/lock",
        "--tmpfs",
        "/tmp:exec",
        "-v",
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
        "-v",
        "/var/lib/docker",
        "-v",
        f"{addresses.STATE / 'resolv.conf'}:/etc/resolv.conf:ro",
    ]
    for capability in CAPABILITIES:
        options += ["--cap-add", capability]
    if existed and docker.recipe_of(host.container) != docker.recipe(image, options):
        progress.say(host.name, "its machine image changed: the host is replaced")
        terminate(host)
        return ensure(host, user_data, published)
    return docker.ensure_container(host.name, image, options)


def metadata_answers(host):
    """Whether the metadata service is there: it refuses version 1 with 401."""
    said = docker.run(
        "exec",
        addresses.container(host.network_part),
        "curl",
        "-s",
        "-m",
        "2",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://169.254.169.254/latest/meta-data/",
        check=False,
    )
    return said == "401"


def reboot(host):
    """An orderly reboot: units are stopped, memory is lost, disks are kept."""
    docker.run("restart", "-t", STOP_SECONDS, host.container, timeout=STOP_SECONDS + 60)


def crash(host):
    """A power cut and the boot after it."""
    docker.run("kill", host.container)
    docker.run("start", host.container)


def terminate(host):
    """End the instance and all that it kept."""
    docker.remove(host.container, addresses.container(host.network_part))
    if aws.answers() and (ended := instances_at(host)):
        aws.client("ec2").terminate_instances(InstanceIds=ended)
    (host.state / "id").unlink(missing_ok=True)
