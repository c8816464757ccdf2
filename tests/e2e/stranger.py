"""An address of this machine that is in no allow-list, to knock at a host from."""

import contextlib
import http.client
import subprocess

ADDRESS = "203.0.113.7"
NETWORK = "203.0.113.0/24"
"""Kept for documentation (RFC 5737): nobody's."""


@contextlib.contextmanager
def present():
    """While this lasts, the machine has the stranger's address. The host answers by way of its gateway, this machine."""
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


def get(host, port, path, source=ADDRESS):
    """Status and body of a GET from the stranger's address."""
    connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()
