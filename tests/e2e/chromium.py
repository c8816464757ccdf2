"""A page in headless Chromium, driven by the DevTools protocol over a pair of pipes.

Pipes need nothing from outside the standard library. Chromium's own `--screenshot` and `--dump-dom`
hang on the SQLMesh UI: they wait for the network to fall silent, and its event stream never does.
Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self


class BrowserError(Exception):
    """Chromium did not start, did not answer in time, or refused a command."""


class Page:
    """One tab of a Chromium of its own; a context manager. Times are in seconds.

    `requests` collects (method, URL) as the page asks for them, `statuses` the status of each URL
    that was answered, `complaints` what the page and the browser wrote to the console as errors.
    """

    def __init__(self, program: str = "chromium", size: tuple[int, int] = (1600, 1000)):
        self.program = program
        self.size = size
        self.requests: list[tuple[str, str]] = []
        self.statuses: dict[str, int] = {}
        self.complaints: list[str] = []
        self._sent = 0
        self._unread = b""
        self._session: str | None = None

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        try:
            self._start()
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        # Chromium reads its commands from descriptor 3 and answers on 4. The ends handed over are
        # moved well above those numbers first, so that neither redirection can overwrite the other.
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()
        handed = [fcntl.fcntl(end, fcntl.F_DUPFD, 30) for end in (commands_out, answers_in)]
        os.close(commands_out)
        os.close(answers_in)
        width, height = self.size
        self._process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$@" 3<&{handed[0]} 4>&{handed[1]}', "bash",
                self.program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
                "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update",
                f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}",
                "about:blank",
            ],
            pass_fds=handed, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in handed:
            os.close(end)
        self._commands = commands_in
        self._answers = answers_out

    def __exit__(self, *_: object) -> None:
        process = getattr(self, "_process", None)
        if process:
            os.close(self._commands)  # Chromium ends when its pipe does
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(self._answers)
        self._profile.cleanup()

    def ask(self, method: str, timeout: float = 30, **parameters: object) -> dict:
        """Send one command and return its result; events that come meanwhile are noted."""
        self._sent += 1
        message: dict = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self, deadline: float, waiting_for: str) -> dict:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"{waiting_for}: no answer from {self.program} in time")
            received = os.read(self._answers, 1 << 16)
            if not received:
                raise BrowserError(f"{waiting_for}: {self.program} has ended")
            self._unread += received
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                request = parameters["request"]
                self.requests.append((request["method"], request["url"]))
            case "Network.responseReceived":
                response = parameters["response"]
                self.statuses[response["url"]] = response["status"]
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                entry = parameters["entry"]
                self.complaints.append(f"{entry['text']} ({entry.get('url', 'no URL')})")
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                thrown = details.get("exception", {}).get("description", "")
                self.complaints.append(f"{details['text']} {thrown}".strip())

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a URL; it does not wait for the page to be complete."""
        failure = self.ask("Page.navigate", url=url).get("errorText")
        if failure:
            raise BrowserError(f"{url}: {failure}")

    def text(self) -> str:
        """What a person can read on the page now."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait_for(self, words: list[str], timeout: float = 30) -> str:
        """The page's text, once it contains all the words; otherwise an error that quotes it."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text()
            missing = [word for word in words if word not in text]
            if not missing:
                return text
            if time.monotonic() > deadline:
                raise BrowserError(f"after {timeout} s the page lacks {missing}; it says: {text!r}")
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        """Save what is visible as a PNG."""
        image = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(image))
