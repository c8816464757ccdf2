"""How long each part of a boot took, read from what the host and the account recorded of it."""

import datetime
import json

AWS_CALLS = {
    "release fetched": ("s3", "GetObject", "/releases/"),
    "parameters read": ("ssm", "GetParametersByPath", ""),
    "secrets read": ("secretsmanager", "BatchGetSecretValue", ""),
    "login to the registry": ("ecr", "GetAuthorizationToken", ""),
}


def phases(agent, lab):
    """Seconds from power-on to the end of each phase, in order. Resources are those that the first run changed."""
    from opslab import docker

    began = datetime.datetime.fromisoformat(docker.inspect(agent.host.container)["Created"][:26] + "+00:00").timestamp()
    ends = {}
    for request in lab.imds(agent.host, began):
        if request["path"].endswith("/user-data"):
            ends.setdefault("user-data read by cloud-init", request["time"])
    for call in lab.calls(began, role=agent.host.iam_role):
        for phase, (service, action, part) in AWS_CALLS.items():
            wanted = (call["service"], call["action"]) == (service, action) and part in call["resource"]
            if wanted and call["source"] == agent.host.ip:
                ends.setdefault(phase, call["end"])
    for entry in first_run(agent):
        ends[entry["OPS_RESOURCE"]] = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    for signal in lab.signals(began):
        if signal["unique_id"] == agent.host.instance_id:
            ends["signal"] = signal["time"]
    return {phase: round(end - began, 1) for phase, end in sorted(ends.items(), key=lambda item: item[1])}


def first_run(agent):
    """Journal entries of what the first run of the agent changed."""
    lines = agent.root("journalctl --no-pager -o json -t ops-agent OPS_EVENT=resource || true").splitlines()
    entries = [json.loads(line) for line in lines]
    return [one for one in entries if one["OPS_RUN"] == entries[0]["OPS_RUN"] and one["OPS_OUTCOME"] == "changed"]
