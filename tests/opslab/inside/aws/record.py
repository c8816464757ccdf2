"""One JSON line for each AWS call, so that a test can count calls and see which overlapped."""

import io
import json
import threading
import time

FORM = "application/x-www-form-urlencoded"

_call = threading.local()
_write_lock = threading.Lock()


def note(**known):
    """Add facts to the record of the call that this thread is serving."""
    facts().update(known)


def facts():
    """What is known of the call that this thread is serving."""
    if not hasattr(_call, "facts"):
        _call.facts = {}
    return _call.facts


def append(path, entry):
    """Append one JSON line in one write, so that readers never see half of it."""
    with _write_lock, open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


class Recorded:
    """WSGI middleware around the whole of moto."""

    def __init__(self, application, path):
        self.application, self.path = application, path

    def __call__(self, environ, start_response):
        _call.facts = {}
        if environ.get("CONTENT_TYPE", "").startswith(FORM):
            # moto keeps the fields only; what was signed is the body as it was sent.
            sent = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(sent)
            note(form=sent)
        began = time.time()
        answer = {}

        def remember(status, headers, exc_info=None):
            answer["status"] = int(status.split()[0])
            return start_response(status, headers, exc_info)

        body = self.application(environ, remember)
        try:
            content = b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        if environ.get("HTTP_AUTHORIZATION"):
            append(self.path, self.entry(environ, began, answer, len(content)))
        return [content]

    @staticmethod
    def entry(environ, began, answer, size):
        facts = dict(_call.facts)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        return {
            "start": round(began, 6),
            "end": round(time.time(), 6),
            "service": facts.get("service", ""),
            "action": facts.get("action") or target.split(".")[-1],
            "resource": facts.get("resource", ""),
            "principal": facts.get("principal", ""),
            "role": facts.get("role", ""),
            "status": answer.get("status", 0),
            "error": facts.get("error", ""),
            "bytes": size,
            "source": environ.get("HTTP_X_REAL_IP") or environ.get("REMOTE_ADDR", ""),
            "agent": environ.get("HTTP_USER_AGENT", "")[:80],
        }
