"""The agent on a host, used as people use it: as root over a shell, or as ssm-user."""

import dataclasses
import json
import subprocess
import time

REPORT = "/var/lib/ops-agent/report.json"
LOCK = "/run/ops-agent/lock"


@dataclasses.dataclass(frozen=True)
class Done:
    """A command that has ended; `calls` are the AWS calls that the host's role made meanwhile."""

    returncode: int
    stdout: str
    stderr: str
    calls: list
    seconds: float

    @property
    def text(self):
        """All that was said, as one line of words: where lines were broken does not matter."""
        return " ".join(f"{self.stdout}\n{self.stderr}".split())

    def made(self):
        """The AWS calls as `service:Action`, sorted."""
        return sorted(f"{call['service']}:{call['action']}" for call in self.calls)


class Agent:
    """Commands of the agent on one host. `runs` counts the converges that were asked for."""

    def __init__(self, lab, host="sqlmesh-server"):
        self.lab, self.host = lab, lab.known(host)
        self.runs = 0

    def root(self, command, check=True, timeout=300):
        """Standard output of a shell command run as root."""
        return self.lab.run(self.host, command, check=check, timeout=timeout).stdout

    def command(self, *words, user="root"):
        """Run `ops-agent …` to its end."""
        began = time.time()
        done = self.lab.run(self.host, ["ops-agent", *words], user=user, check=False, timeout=900)
        calls = self.lab.calls(began, role=self.host.iam_role)
        return Done(done.returncode, done.stdout, done.stderr, calls, time.time() - began)

    def converge(self, *options):
        self.runs += 1
        return self.command("converge", *options)

    def start_converge(self, *options):
        """A converge in the background, as a Popen with pipes."""
        self.runs += 1
        words = self.lab.shell_command(self.host, "root", ["ops-agent", "converge", *options], terminal=False)
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def holder(self):
        """Who holds the lock, as a dict; None when nobody does."""
        text = self.root(f"cat {LOCK} 2>/dev/null || true")
        return json.loads(text) if text.strip() else None

    def wait_for_holder(self):
        return self.lab.wait_until("a converge that holds the lock", self.holder, 30, every=0.05)

    def plan(self):
        return self.command("plan")

    def status(self):
        """`ops-agent status`, as the unprivileged user of Session Manager."""
        return self.command("status", user="ssm-user")

    def status_json(self):
        return json.loads(self.command("status", "--json", user="ssm-user").stdout)

    def report(self):
        """The report of the last converge."""
        return json.loads(self.root(f"cat {REPORT}"))

    def inputs(self):
        """The inputs of the last report by source."""
        return {entry["source"]: entry for entry in self.report()["inputs"]}

    def outcomes(self):
        """The outcome of each resource of the last report, by `kind:name`."""
        return {f"{one['kind']}:{one['name']}": one["outcome"] for one in self.report()["resources"]}

    def changed(self):
        """The resources that the last converge changed, sorted."""
        return sorted(name for name, outcome in self.outcomes().items() if outcome == "changed")

    def scheduler(self):
        """What the scheduler's supervisor publishes."""
        return json.loads(self.root("cat /var/lib/ops-agent/sqlmesh/scheduler/state.json"))
