"""The UI from the network: what can be read, what is refused, and to whom."""

import contextlib
import socket

import pytest
import stranger
import ui_routes
from artifacts import path

CONTAINER_PORT = 8000
OWN_PORT = 8001


def test_every_route_is_answered_as_the_table_says(lab, agent):
    files = agent.root("cd /var/lib/ops-agent/sqlmesh/current/ && find . -type f -exec sha256sum {} + | sort")
    assert ui_routes.mismatches(lab.url()) == []
    again = agent.root("cd /var/lib/ops-agent/sqlmesh/current/ && find . -type f -exec sha256sum {} + | sort")
    assert again == files, "a refused write was done all the same"


def test_a_person_sees_the_models(lab, agent):
    text = ui_routes.read_model_page(lab.url(), path("ui.png"))
    assert ui_routes.MODEL in text
    for word in ui_routes.COLUMNS + ui_routes.NEIGHBOURS:
        assert word in text, f"the page lacks {word}"
    assert path("ui.png").stat().st_size > 20_000


def test_an_address_that_is_not_in_the_list_is_refused(agent):
    with stranger.present():
        for route in ("/", "/health", "/api/models"):
            status, body = stranger.get(agent.host.ip, 8000, route)
            assert status == 403 and stranger.ADDRESS in body and "ui.allow" in body, (route, status, body)


def test_the_port_of_the_ui_itself_is_not_on_the_network(agent):
    with pytest.raises(OSError):
        socket.create_connection((agent.host.ip, OWN_PORT), timeout=3)
    listening = agent.root(f"ss -ltnH 'sport = :{OWN_PORT}' | awk '{{print $4}}'").split()
    assert listening == [f"127.0.0.1:{OWN_PORT}"]


def test_no_neighbour_reaches_the_container_past_the_proxy(agent, lab):
    """Docker answers whoever routes to a container's own address, wherever its port is published."""
    from opslab import addresses, docker

    inside = agent.root("docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' ops-sqlmesh-ui").strip()
    assert inside, "the UI has no address of its own"
    neighbour = addresses.container("dns")
    with contextlib.ExitStack() as stack:
        docker.run("exec", neighbour, "ip", "route", "replace", inside, "via", agent.host.ip)
        stack.callback(docker.run, "exec", neighbour, "ip", "route", "del", inside)
        said = docker.run("exec", neighbour, "curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}",
                          f"http://{inside}:{CONTAINER_PORT}/health", check=False)
    assert said == "000", f"the UI answered {said} to a neighbour, past the proxy"
