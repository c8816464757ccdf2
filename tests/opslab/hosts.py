"""Which hosts the lab knows, as their stacks would describe them."""

import dataclasses

from opslab import addresses


@dataclasses.dataclass(frozen=True)
class Host:
    """One EC2 instance: its place in the VPC and what its stack gives it."""

    name: str
    role: str
    iam_role: str
    stack: str
    resource: str
    ip: str
    subnet: str
    type: str
    secrets: tuple
    tag_name: str

    @property
    def container(self):
        """The docker container that is the host."""
        return addresses.container(self.name)

    @property
    def network_part(self):
        """The part whose container owns the host's network, and the metadata service in it."""
        return f"{self.name}-net"

    @property
    def state(self):
        """What this machine keeps about the host."""
        return addresses.STATE / "hosts" / self.name

    @property
    def instance_id(self):
        """The id of the instance, empty before its first boot."""
        path = self.state / "id"
        return path.read_text() if path.exists() else ""


SQLMESH_SERVER = Host(
    name="sqlmesh-server",
    role="sqlmesh-server",
    iam_role="ops-sqlmesh-server",
    stack="ops-vpc-sqlmesh-server",
    resource="SqlmeshServer",
    ip="172.22.2.10",
    subnet="private",
    type="t3.medium",
    secrets=(addresses.STATE_SECRET, addresses.WAREHOUSE_SECRET),
    tag_name="ops-sqlmesh-server",
)

ALL = {host.name: host for host in (SQLMESH_SERVER,)}


def variant(host, name, ip):
    """Another instance of the same stack: for tests that want a host of their own."""
    return dataclasses.replace(host, name=name, ip=ip)
