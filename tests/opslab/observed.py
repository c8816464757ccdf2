"""What the lab recorded: AWS calls, CloudFormation signals, requests to the metadata service."""

import json

from opslab import aws


def _lines(path, time_key, since):
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry[time_key] >= since:
            entries.append(entry)
    return entries


def calls(since=0.0, role=None):
    """Every AWS call as a dict: start, end (unix seconds), service, action, resource, principal, role,
    status, error, bytes, source, agent. `role` keeps only those of one role."""
    entries = _lines(aws.RECORD / "calls.jsonl", "start", since)
    return [entry for entry in entries if role is None or entry["role"] == role]


def signals(since=0.0):
    """Every CloudFormation signal: time, stack, resource, unique_id, status, principal."""
    return _lines(aws.RECORD / "signals.jsonl", "time", since)


def imds(host, since=0.0):
    """Every request to the metadata service of a host: time, method, path, status, agent."""
    return _lines(host.state / "imds.jsonl", "time", since)


def depth(entries):
    """How deep calls chain: the length of the longest run in which each began after another ended."""
    best = {}
    ordered = sorted(entries, key=lambda call: call["end"])
    for index, call in enumerate(ordered):
        before = [best[other] for other in range(index) if ordered[other]["end"] <= call["start"]]
        best[index] = 1 + max(before, default=0)
    return max(best.values(), default=0)
