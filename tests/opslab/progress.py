"""Progress lines with the time since the command began, on stderr: stdout is for data."""

import sys
import time

_BEGAN = time.monotonic()


class LabError(Exception):
    """What went wrong, where, and what to do: shown as one line, without a traceback."""


def say(part, text):
    """One line, such as `[ 12.3s] host image: building…`."""
    print(f"[{time.monotonic() - _BEGAN:6.1f}s] {part}: {text}", file=sys.stderr, flush=True)


def wait_until(part, question, seconds, every=0.2):
    """Ask until the answer is true and return it; LabError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise LabError(f"{part}: not ready after {seconds:.0f} s; see `tests/lab status`")
        time.sleep(every)
