"""Looking for secrets on a host: each password of the lab begins with a canary that nothing else holds."""

import base64
import contextlib

FILE = "/run/lab-canaries"
"""On the host's tmpfs while a search lasts."""
VISIBLE = 30
"""As much of a password is looked for: CANARY-NAME- and most of its digits, without the characters that are quoted
differently from place to place."""


def shapes(secret):
    """A canary as it is, and as base64 writes it at each of three alignments."""
    canary = secret[:VISIBLE]
    coded = [base64.b64encode(b"x" * shift + canary.encode()).decode()[4 if shift else 0:-4] for shift in range(3)]
    return [canary, *coded]


class Search:
    """What is looked for, and where on a host."""

    def __init__(self, agent, secrets):
        self.agent = agent
        self.shapes = [shape for secret in secrets for shape in shapes(secret)]

    def lines(self, command):
        """What a shell command prints; `grep … -aFf` reads the canaries from FILE."""
        return self.agent.root(command, check=False).splitlines()

    def inside(self, text):
        """The shapes that a text contains."""
        return [shape for shape in self.shapes if shape in text]


@contextlib.contextmanager
def search(agent, secrets):
    """A Search whose FILE is on the host meanwhile."""
    made = Search(agent, secrets)
    agent.lab.run(agent.host, f"umask 077 && cat >{FILE}", text="\n".join(made.shapes) + "\n")
    try:
        yield made
    finally:
        agent.root(f"rm -f {FILE}")


@contextlib.contextmanager
def watched_arguments(agent):
    """While this lasts, the arguments of every process of the host are searched, again and again; yields the findings."""
    seen, stop, found = "/run/lab-seen", "/run/lab-stop", []
    look = f"while [ ! -e {stop} ]; do grep -haFf {FILE} /proc/[0-9]*/cmdline 2>/dev/null; sleep 0.02; done"
    agent.root(f"rm -f {stop}; setsid sh -c '{look}' >{seen} 2>&1 </dev/null &")
    try:
        yield found
    finally:
        agent.root(f"touch {stop}")
        found += agent.root(f"cat -v {seen}").splitlines()
