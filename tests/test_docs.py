"""What the documents tell people to run or to open must exist."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(path for path in ROOT.glob("*.md"))
# A command of the repository: a path to a program of ours, and the word after it.
COMMAND = re.compile(r"(?<![\w./-])((?:tests|bootstrap|\.ci)/(?:lab|run|release|pack))(?: ([a-z][a-z0-9-]*))?")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


def code(text):
    """The text of blocks and spans of code, where commands stand."""
    blocks = re.findall(r"^```.*?^```", text, re.S | re.M) + re.findall(r"^ {4}\S.*$", text, re.M)
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", text))


def words_of(program):
    """The subcommands that a program of the repository takes, from the program itself; None: any."""
    if program == "tests/run":
        done = subprocess.run([ROOT / program, "help"], capture_output=True, text=True, timeout=60)
        return set(done.stdout.split())
    if program == "tests/lab":
        text = (ROOT / "tests/opslab/cli.py").read_text()
        return set(re.findall(r'command\("([a-z-]+)"', text))
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document):
    for program, word in COMMAND.findall(code(document.read_text())):
        path = ROOT / program
        assert path.is_file() and path.stat().st_mode & 0o111, f"{program} is not a program"
        known = words_of(program)
        assert not word or known is None or word in known, f"{program} knows no {word}: {sorted(known)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_exit_codes_are_those_of_the_agent():
    source = (ROOT / "agent/src/exit.rs").read_text()
    codes = dict(re.findall(r"^    (\w+) = (\d+),", source, re.M))
    meant = {codes[name]: words for name, words in re.findall(r'\(Self::(\w+), "([^"]+)"\)', source)}
    told = re.findall(r"^\| (\d+) \| (.+?) \|$", (ROOT / "README.md").read_text(), re.M)
    assert len(codes) == len(meant) and {code: words.replace("`", "") for code, words in told} == meant
