"""Fixtures for every test. Tests that take `lab` need a running lab: `tests/lab up`."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def lab():
    """The running lab, as `opslab.lab`."""
    from opslab import aws, lab

    if not aws.answers():
        pytest.fail("the lab is down: run `tests/lab up` first")
    return lab
