"""Faults on request: a file that says which calls are slow or fail, read at every call.

The file is a JSON list of {"call": "cloudformation:SignalResource", "code": "InternalFailure",
"status": 500, "message": "…", "times": 3, "delay": 0.5}; patterns as in a shell; `times` counts
down; without `code` a call is only delayed.
"""

import fnmatch
import json
import os
import threading
import time

_lock = threading.Lock()


def matching(path, call):
    """The fault that this call meets, or None. Uses up one of its `times`."""
    with _lock:
        try:
            with open(path, encoding="utf-8") as stream:
                faults = json.load(stream)
        except (FileNotFoundError, ValueError):
            return None
        for fault in faults:
            if not fnmatch.fnmatchcase(call, fault["call"]) or fault.get("times") == 0:
                continue
            if "times" in fault:
                fault["times"] -= 1
                temporary = f"{path}.new"
                with open(temporary, "w", encoding="utf-8") as stream:
                    json.dump(faults, stream)
                os.replace(temporary, path)
            return fault
    return None


def delay(fault):
    """Sleep as long as the fault says."""
    time.sleep(float(fault.get("delay", 0)))
