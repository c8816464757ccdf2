"""Errors in the form of the protocol that the caller speaks, as AWS sends them.

moto answers every denial in XML with code 403; an SDK that speaks JSON then sees no code at all.
"""

import json

from moto.core.exceptions import _RESTError
from werkzeug.exceptions import HTTPException

# SDKs map the code to an exception; query services and JSON services spell it differently.
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "Throttling": "ThrottlingException",
}


class JsonError(HTTPException):
    """An error of a JSON service: the body names its type."""

    def __init__(self, status, code, message):
        super().__init__()
        self.code, self.error_type, self.message = status, code, message
        self.description = json.dumps({"__type": code, "message": message})

    def get_body(self, *_args, **_kwargs):
        return self.description

    def get_headers(self, *_args, **_kwargs):
        return [("X-Amzn-ErrorType", self.error_type), ("Content-Type", "application/x-amz-json-1.1")]


def in_protocol(response, status, code, message):
    """The exception that makes `response` (a moto response class) answer with this error."""
    if response.headers.get("X-Amz-Target"):
        response.response_headers["Content-Type"] = "application/x-amz-json-1.1"
        return JsonError(status, JSON_CODES.get(code, code), message)
    error = _RESTError(code, message)
    error.code = status
    return error
