"""What the tests leave for people to look at, in target/artifacts: figures and pictures."""

import json
import pathlib

DIRECTORY = pathlib.Path(__file__).parents[2] / "target" / "artifacts"
FIGURES = DIRECTORY / "figures.json"


def path(name):
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    return DIRECTORY / name


def figure(name, value):
    """Keep a measured value and print it. Nothing is asserted of it: machines differ."""
    file = path(FIGURES.name)
    figures = json.loads(file.read_text()) if file.exists() else {}
    figures[name] = value
    file.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(f"{name}: {json.dumps(value)}")
