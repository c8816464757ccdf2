"""Start the lab's AWS: moto on port 5000, an nginx for TLS on 443 before it.

Environment: ACCOUNT, OPERATOR_KEY, OPERATOR_SECRET. Files: /lab/tls/{certificate,key}.pem to serve,
/lab/record/ for what is recorded, /lab/faults.json for faults on request.
"""

import json
import logging
import os
import subprocess

ACCOUNT = os.environ["ACCOUNT"]
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from moto import backends  # noqa: E402  (reads the environment when imported)
from moto.iam.models import iam_backends  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

from aws import access, instances, record, signals  # noqa: E402

# Loaded before the first call, so that a boot's times are not those of Python's imports.
SERVICES = ("cloudformation", "ec2", "ecr", "events", "iam", "logs", "s3", "secretsmanager", "ssm", "sts")

NGINX = """
daemon on; worker_processes 1; pid /run/nginx.pid; error_log /dev/stderr warn;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 0; underscores_in_headers on; ignore_invalid_headers off;
  merge_slashes off; keepalive_timeout 60s; proxy_read_timeout 300s; server_tokens off;
  server {
    listen 443 ssl default_server;
    ssl_certificate /lab/tls/certificate.pem; ssl_certificate_key /lab/tls/key.pem;
    location / {
      proxy_pass http://127.0.0.1:5000; proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;
    }
  }
}
"""


def make_operator():
    """The user who may do everything: the operator at the workstation."""
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_user("us-east-2", access.OPERATOR)
    key = iam.create_access_key(access.OPERATOR)
    key.access_key_id, key.secret_access_key = os.environ["OPERATOR_KEY"], os.environ["OPERATOR_SECRET"]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_user_policy(access.OPERATOR, "everything", json.dumps({"Version": "2012-10-17", "Statement": [everything]}))


def main():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    access.install("/lab/faults.json")
    signals.install("/lab/record/signals.jsonl")
    instances.install()
    for service in SERVICES:
        backends.get_backend(service)
    make_operator()
    with open("/etc/nginx/nginx.conf", "w", encoding="utf-8") as stream:
        stream.write(NGINX)
    subprocess.run(["nginx"], check=True)
    application = record.Recorded(DomainDispatcherApplication(create_backend_app), "/lab/record/calls.jsonl")
    make_server("0.0.0.0", 5000, application, threaded=True, request_handler=MotoRequestHandler).serve_forever()


if __name__ == "__main__":
    main()
