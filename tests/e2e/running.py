"""What runs on a host, by identity: two looks at it tell what was replaced or restarted in between."""

import dataclasses

CONTAINERS = ("ops-sqlmesh-ui", "ops-sqlmesh-scheduler")
UNITS = ("ops-ui-proxy.service", "docker.service")

UI, SCHEDULER = CONTAINERS
PROXY, DOCKER = UNITS


@dataclasses.dataclass(frozen=True)
class Running:
    """Each container with id, process id, start and count of restarts; each unit with process id and start."""

    found: dict

    @classmethod
    def on(cls, agent):
        lines = agent.root(
            "docker inspect -f '{{.Name}} {{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{.RestartCount}}' "
            + " ".join(CONTAINERS)
            + "; for unit in "
            + " ".join(UNITS)
            + "; do echo $unit $(systemctl show -P MainPID $unit) $(systemctl show -P ActiveEnterTimestampMonotonic $unit); done"
        ).splitlines()
        return cls({name.lstrip("/"): rest for name, _, rest in (line.partition(" ") for line in lines)})

    def differs_from(self, earlier):
        """Names of what is not the same process as in an earlier look."""
        names = self.found.keys() | earlier.found.keys()
        return {name for name in names if self.found.get(name) != earlier.found.get(name)}

    def container_id(self, name):
        return self.found[name].split()[0]

    def pid(self, name):
        """Process id, as the host sees it."""
        return int(self.found[name].split()[-3 if name in CONTAINERS else 0])


def health(agent):
    """Docker's word on each container."""
    lines = agent.root("docker inspect -f '{{.Name}} {{.State.Health.Status}}' " + " ".join(CONTAINERS)).splitlines()
    return {name.lstrip("/"): word for name, word in (line.split() for line in lines)}


def all_healthy(agent):
    return set(health(agent).values()) == {"healthy"}
