"""The instance metadata service of one host, version 2 only.

Runs in the container whose network the host shares, and owns 169.254.169.254 there before the host
boots. It listens on a port of its own, to which port 80 of that address alone is led: on an instance,
port 80 is free for a web server. What it tells is read from /lab/instance.json at every request; role credentials come from
the lab's AWS by AssumeRole. Requests are recorded, one JSON line each.
"""

import datetime
import http.server
import json
import re
import secrets
import subprocess
import sys
import time

import boto3

ADDRESS = "169.254.169.254"
PORT = 8169
INSTANCE = "/lab/instance.json"
USER_DATA = "/lab/user-data"
RECORD = "/lab/imds.jsonl"
# EC2 hands out role credentials for about six hours.
CREDENTIALS_SECONDS = 6 * 3600
MAX_TOKEN_SECONDS = 21600
VERSIONED_PATH = re.compile(r"/(latest|20\d\d-\d\d-\d\d)/(.*)")


def timestamp(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instance():
    with open(INSTANCE, encoding="utf-8") as stream:
        return json.load(stream)


class RoleCredentials:
    """Credentials of the instance's role; fetched anew when they age or when the account was remade."""

    def __init__(self):
        self.key, self.until, self.answer = None, 0.0, ""

    def get(self, who):
        key = (who["role"], who["generation"])
        if key != self.key or time.time() > self.until - 300:
            operator = who["operator"]
            sts = boto3.client(
                "sts",
                region_name=who["region"],
                endpoint_url=who["aws"],
                aws_access_key_id=operator["key"],
                aws_secret_access_key=operator["secret"],
            )
            made = sts.assume_role(
                RoleArn=f"arn:aws:iam::{who['account']}:role/{who['role']}", RoleSessionName=who["id"], DurationSeconds=3600
            )["Credentials"]
            self.key, self.until = key, time.time() + CREDENTIALS_SECONDS
            self.answer = json.dumps(
                {
                    "Code": "Success",
                    "LastUpdated": timestamp(time.time()),
                    "Type": "AWS-HMAC",
                    "AccessKeyId": made["AccessKeyId"],
                    "SecretAccessKey": made["SecretAccessKey"],
                    "Token": made["SessionToken"],
                    "Expiration": timestamp(self.until),
                },
                indent=2,
            )
        return self.answer


CREDENTIALS = RoleCredentials()
TOKENS = {}


def metadata(who):
    """The tree under meta-data/: a dict is a directory, a callable is asked when read."""
    hostname = f"ip-{who['ip'].replace('.', '-')}.{who['region']}.compute.internal"
    profile = f"arn:aws:iam::{who['account']}:instance-profile/{who['role']}"
    return {
        "ami-id": who["image"],
        "hostname": hostname,
        "iam": {
            "info": json.dumps({"Code": "Success", "InstanceProfileArn": profile}),
            "security-credentials": {who["role"]: lambda: CREDENTIALS.get(who)},
        },
        "instance-id": who["id"],
        "instance-type": who["type"],
        "local-hostname": hostname,
        "local-ipv4": who["ip"],
        "mac": who["mac"],
        "network": {
            "interfaces": {
                "macs": {
                    who["mac"]: {
                        "device-number": "0",
                        "local-ipv4s": who["ip"],
                        "mac": who["mac"],
                        "subnet-ipv4-cidr-block": who["subnet"],
                    }
                }
            }
        },
        "placement": {"availability-zone": who["zone"], "region": who["region"]},
        "security-groups": who["name"],
        "services": {"domain": "amazonaws.com", "partition": "aws"},
        "tags": {"instance": who["tags"]},
    }


def identity_document(who):
    return json.dumps(
        {
            "accountId": who["account"],
            "architecture": "x86_64",
            "availabilityZone": who["zone"],
            "imageId": who["image"],
            "instanceId": who["id"],
            "instanceType": who["type"],
            "pendingTime": who["launched"],
            "privateIp": who["ip"],
            "region": who["region"],
            "version": "2017-09-30",
        },
        indent=2,
    )


def answer(path):
    """Status and body for a path below the version."""
    who = instance()
    path = path.rstrip("/")
    if path in ("dynamic", "dynamic/instance-identity"):
        return 200, "instance-identity/" if path == "dynamic" else "document"
    if path == "dynamic/instance-identity/document":
        return 200, identity_document(who)
    if path == "user-data":
        with open(USER_DATA, "rb") as stream:
            return 200, stream.read()
    if path != "meta-data" and not path.startswith("meta-data/"):
        return 404, ""
    node = metadata(who)
    for part in filter(None, path.removeprefix("meta-data").split("/")):
        if not isinstance(node, dict) or part not in node:
            return 404, ""
        node = node[part]
    if isinstance(node, dict):
        return 200, "\n".join(f"{name}/" if isinstance(below, dict) else name for name, below in node.items())
    return 200, node() if callable(node) else node


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"

    def reply(self, status, body=b"", headers=()):
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        with open(RECORD, "a", encoding="utf-8") as stream:
            stream.write(
                json.dumps(
                    {
                        "time": round(time.time(), 3),
                        "method": self.command,
                        "path": self.path,
                        "status": status,
                        "agent": self.headers.get("User-Agent", "")[:80],
                    }
                )
                + "\n"
            )

    def do_PUT(self):
        wanted = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or not wanted.isdigit() or not 1 <= int(wanted) <= MAX_TOKEN_SECONDS:
            return self.reply(400)
        if self.headers.get("X-Forwarded-For"):
            return self.reply(403)
        token = secrets.token_urlsafe(40)
        TOKENS[token] = time.time() + int(wanted)
        return self.reply(200, token, [("X-aws-ec2-metadata-token-ttl-seconds", wanted)])

    def do_GET(self):
        if TOKENS.get(self.headers.get("X-aws-ec2-metadata-token", ""), 0) < time.time():
            return self.reply(401)
        path = VERSIONED_PATH.fullmatch(self.path)
        if not path:
            return self.reply(404)
        try:
            return self.reply(*answer(path.group(2)))
        except Exception as error:  # AWS may be down: the service itself must go on
            print(f"{self.path}: {error!r}", file=sys.stderr)
            return self.reply(500)

    def log_message(self, *_arguments):
        """Requests are in the record."""


def own_address():
    """The address on lo, with its port 80 led here.

    Containers inside the host cannot reach it, as on an instance whose hop limit is 1. The table is the
    service's own: `iptables` in the host does not show it, and no flush there touches it.
    """
    subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"], check=True)
    rules = f"""
        table ip lab_metadata {{
            chain output {{
                type nat hook output priority -110
                ip daddr {ADDRESS} tcp dport 80 dnat to {ADDRESS}:{PORT}
            }}
            chain hop_limit {{
                type filter hook prerouting priority -150
                iif != lo ip daddr {ADDRESS} drop
            }}
        }}"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


if __name__ == "__main__":
    own_address()
    http.server.ThreadingHTTPServer((ADDRESS, PORT), Service).serve_forever()
