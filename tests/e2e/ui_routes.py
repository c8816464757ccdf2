"""What the reverse proxy in front of the SQLMesh UI must let through, and what it must refuse.

`ROUTES` is the table; `mismatches` tries it against a running proxy with the real UI behind it, and
`read_model_page` looks at the UI as a person would. By hand:

    python3 ui_routes.py http://172.22.2.10:8000 [SCREENSHOT.png]
"""

import http.client
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from chromium import BrowserError, Page

MODEL = "staging.sessions"
"""A model of the example project with models on both sides of it, and its columns."""
COLUMNS = ["session_id", "technician", "session_minutes", "was_dropped"]
NEIGHBOURS = ["raw.relay_log", "raw.devices", "marts.site_activity", "marts.technician_load"]

READ_ONLY = "read-only"
"""The word that tells a refusal of the proxy from one of the UI."""


class Route(NamedTuple):
    method: str
    path: str
    status: int

    def is_api(self) -> bool:
        return self.path.lstrip("/").startswith("api/")


def _all(status: int, method: str, paths: str) -> list[Route]:
    return [Route(method, path, status) for path in paths.split()]


OPEN = [
    *_all(200, "GET", "/ /health /data-catalog /lineage /css/design.css /favicons/favicon.svg"),
    *_all(200, "GET", "/api/meta /api/modules /api/models /api/environments /api/events"),
    *_all(200, "GET", f"/data-catalog/models/{MODEL} /lineage/models/{MODEL} /api/models/{MODEL}"),
    *_all(200, "GET", f"/api/lineage/{MODEL} /api/lineage/{MODEL}/session_minutes"),
    *_all(200, "GET", f"/api/lineage/{MODEL}/session_minutes?models_only=true"),
    # The page asks by the quoted name where it has one.
    *_all(200, "GET", "/api/models/%22marts%22.%22technician_load%22"),
    # The source of a model; what is no model the UI does not find.
    *_all(200, "GET", "/api/files/models/staging/sessions.sql /api/files/models/marts/technician_load.py"),
    *_all(404, "GET", "/api/files/models/none.sql"),
    # Another spelling of an open route is that route.
    *_all(200, "GET", "/css/../ //api/models /api/./models /api/x/../models /api/%6dodels"),
    # Static files answer HEAD; the UI's own routes do not know it, which is not for the proxy to hide.
    *_all(200, "HEAD", "/css/design.css"),
    *_all(405, "HEAD", "/ /health /api/models"),
]

REFUSED = [
    # Reads that give away files, run code or query the warehouse.
    *_all(403, "GET", "/api/files /api/files/config.yaml /api/files/.env /api/commands/test"),
    *_all(403, "GET", "/api/table_diff?source=prod&target=dev"),
    # Of files, the models' alone.
    *_all(403, "GET", "/api/files/models /api/files/models/ /api/files/models/x.yaml /api/files/models/x.sql~"),
    *_all(403, "GET", "/api/files/macros/durations.py /api/files/audits/ends_after_it_starts.sql"),
    *_all(403, "GET", "/api/files/models/../config.yaml /api/files/models/..%2fconfig.yaml"),
    *_all(403, "GET", "/api/files/models/x.sql/../../macros/durations.py /api/files/models/..%2fmacros/durations.py"),
    *_all(403, "GET", "/api/files/models/%252e%252e/macros/durations.py /api/files/models/a..b.sql"),
    *_all(403, "GET", "/api/files/models/staging/sessions.sql/ /api/files/models/staging/sessions.sql%0a"),
    *_all(403, "HEAD", "/api/files/models/staging/sessions.sql"),
    *_all(403, "PUT", "/api/files/models/staging/sessions.sql"),
    *_all(403, "POST", "/api/files/models/staging/sessions.sql /api/files/models/evil.py"),
    *_all(403, "DELETE", "/api/files/models/staging/sessions.sql"),
    *_all(403, "GET", "/openapi.json /docs /redoc /docs/oauth2-redirect /editor /plan /api /api/"),
    *_all(403, "GET", "/.refused/api /.refused/page /health/ /api/events/ /assets/ /index.html"),
    # Writes and commands.
    *_all(403, "POST", "/api/files/evil.txt /api/directories/evil /api/plan /api/plan/cancel"),
    *_all(403, "POST", "/api/commands/apply /api/commands/evaluate /api/commands/fetchdf"),
    *_all(403, "POST", "/api/commands/render"),
    *_all(403, "DELETE", "/api/files/config.yaml /api/directories/models /api/environments/prod"),
    # No other method on a route that can be read.
    *_all(403, "POST", "/ /health /api/models /api/events /data-catalog /css/design.css"),
    *_all(403, "PUT", "/api/models /api/files/evil.txt"),
    *_all(403, "PATCH", "/api/models"),
    *_all(403, "DELETE", "/api/models /api/environments"),
    *_all(403, "OPTIONS", "/api/models /api/plan"),
    # Other spellings of what is refused.
    *_all(403, "GET", "//api/files /api//files /api/./files /api/%66iles /api/%2566iles"),
    *_all(403, "GET", "/api/files/ /API/FILES /Api/Files /api/files%0a /api/files;x"),
    *_all(403, "GET", "/api/models/../files /api/models/..%2ffiles /api/models/%2e%2e/files"),
    *_all(403, "GET", "/api%2ffiles /api/models/%2e%2e%2ffiles/config.yaml /assets/..%2fapi/files"),
    *_all(403, "GET", "/css/../api/files /assets/x.js/../../api/files /api/models%252f..%252ffiles"),
    *_all(403, "GET", "/api/models/ /api/models/a/b /api/lineage /api/lineage/a/b/c /api/meta%0a"),
    *_all(403, "GET", "http://localhost/api/files /api/files?/api/models /api/files#/api/models"),
    *_all(403, "HEAD", "/api/files /api/files/config.yaml /docs /api/commands/test /api/events"),
    *_all(403, "POST", "//api/plan /api/./plan /api/%70lan /API/PLAN /api/models/../plan"),
]
# What nginx itself cannot make sense of is refused before any list is asked.
MALFORMED = [
    *_all(400, "GET", "/../api/files /assets/..%2f..%2fapi/files /api/%zz /api/files%00"),
    *_all(400, "get", "/api/files"),
    *_all(405, "TRACE", "/api/models"),
    *_all(405, "CONNECT", "/api/models"),
]
ROUTES = OPEN + REFUSED + MALFORMED


def answer(base: str, method: str, path: str, body: bytes | None = None) -> tuple[int, dict, str]:
    """Status, headers (lower case) and up to 4 KiB of body; the path is sent exactly as given."""
    where = urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    # http.client refuses to send some of the paths that a stranger may send.
    connection._validate_path = lambda url: None  # type: ignore[method-assign]
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Content-Type", "application/json")
        connection.endheaders(body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        endless = headers.get("content-type", "").startswith("text/event-stream")
        text = "" if endless else response.read(4096).decode(errors="replace")
        return response.status, headers, text
    finally:
        connection.close()


def mismatches(base: str) -> list[str]:
    """Every route of the table that is not answered as it says, in words; empty when all are.

    Where no proxy refuses, nothing more is tried: these routes delete a project, and they did.
    """
    status, _, text = answer(base, "GET", "/api/files")
    if status != 403:
        return [f"GET /api/files is answered {status} {text[:200]!r}: there is no proxy in front"]
    found = []
    for route in ROUTES:
        body = b"{}" if route.method in ("POST", "PUT", "PATCH") else None
        status, headers, text = answer(base, route.method, route.path, body)
        said = f"{route.method} {route.path} is answered {status} {text[:200]!r}"
        if status != route.status:
            found.append(f"{said}, and not {route.status}")
        elif status == 403 and route.method != "HEAD" and READ_ONLY not in text:
            found.append(f"{said}, which does not say that the UI is {READ_ONLY}")
        elif status == 200 and "text/html" in headers.get("content-type", "") and route.is_api():
            # The UI answers any unknown path with its page and 200.
            found.append(f"{said}, which is the UI's page")
    return found


def read_model_page(
    base: str, screenshot: Path, model: str = MODEL, words: list[str] = COLUMNS + NEIGHBOURS
) -> str:
    """Open a model's page in Chromium; its text, once it shows the model and all the words.

    The UI is started over when that does not come within 20 s: Chromium drops what it is loading
    whenever an interface of the machine comes or goes, and the UI does not ask again.
    """
    attempts = 3
    with Page() as page:
        for attempt in range(1, attempts + 1):
            page.open(f"{base}/data-catalog/models/{model}")
            try:
                page.wait_for([model, "SQLMesh:", *words], timeout=20)
                break
            except BrowserError:
                if attempt == attempts:
                    page.screenshot(screenshot)
                    raise
        time.sleep(1)  # the lineage is still being drawn when its words are there
        page.screenshot(screenshot)
        return page.text()


if __name__ == "__main__":
    problems = mismatches(sys.argv[1])
    print("\n".join(problems) or f"{len(ROUTES)} routes are answered as they should be")
    if len(sys.argv) > 2:
        print(read_model_page(sys.argv[1], Path(sys.argv[2])))
    sys.exit(1 if problems else 0)
