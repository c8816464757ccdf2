"""The VPC: one docker network with the addresses of production, and its name server."""

import json
import pathlib
import re
import subprocess

from opslab import addresses, docker, images, progress

# Names below these domains exist in the lab only; dnsmasq prefers the longest match.
ANSWERS = {
    "amazonaws.com": addresses.AWS,
    addresses.REGISTRY_NAME: addresses.REGISTRY,
    addresses.STATE_DATABASE_NAME: addresses.STATE_DATABASE,
    addresses.WAREHOUSE_NAME: addresses.WAREHOUSE,
}

# The VPC's own names: ip-172-22-2-10 and so on, for any address.
INTERNAL = f"{addresses.REGION}.compute.internal"


def machine_mtu():
    """The MTU of the way out: a bridge with a larger one loses packets."""
    routes = json.loads(subprocess.run(["ip", "-j", "route", "show", "default"], capture_output=True, text=True).stdout or "[]")
    device = routes[0]["dev"] if routes else "lo"
    return min(1500, int(pathlib.Path(f"/sys/class/net/{device}/mtu").read_text()))


def ensure():
    """The docker network, and the resolv.conf that every container of the lab is given."""
    (addresses.STATE / "resolv.conf").write_text(f"nameserver {addresses.RESOLVER}\nsearch {INTERNAL}\n")
    if not docker.run("network", "ls", "-q", "-f", f"name=^{addresses.NETWORK}$"):
        progress.say("network", f"{addresses.NETWORK} {addresses.VPC_CIDR}")
        docker.run(
            "network",
            "create",
            "--subnet",
            addresses.VPC_CIDR,
            "--gateway",
            addresses.GATEWAY,
            "-o",
            f"com.docker.network.driver.mtu={machine_mtu()}",
            "-o",
            f"com.docker.network.bridge.name={addresses.NETWORK}",
            addresses.NETWORK,
        )


def upstreams():
    """The machine's own name servers, loopback ones excepted: a container cannot reach them."""
    found = re.findall(r"^nameserver\s+(\S+)", pathlib.Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    return [server for server in found if not server.startswith("127.") and ":" not in server]


def ensure_resolver():
    """The VPC's resolver: lab names from the lab, the rest from the machine's name servers."""
    command = ["dnsmasq", "--keep-in-foreground", "--log-facility=-", "--no-resolv", "--no-hosts", "--user=root"]
    for domain, address in ANSWERS.items():
        command += [f"--address=/{domain}/{address}", f"--local=/{domain}/"]
    command += [f"--synth-domain={INTERNAL},{addresses.VPC_CIDR},ip-", f"--local=/{INTERNAL}/"]
    command += [f"--server={server}" for server in upstreams()]
    state = docker.ensure_container(
        "dns", images.services(), ["--network", addresses.NETWORK, "--ip", addresses.RESOLVER, "--cap-add", "NET_ADMIN"], command
    )
    progress.say("dns", f"{addresses.RESOLVER} {state}")
