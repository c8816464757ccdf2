"""The AWS front: moto behind TLS at the names of production, and clients for the workstation."""

import functools
import json
import os
import secrets
import urllib.error
import urllib.request

import boto3
import botocore.config

from opslab import addresses, certificates, docker, images, progress

RECORD = addresses.STATE / "record"
REGIONAL = f"{addresses.REGION}.amazonaws.com"
NAMES = ["*.amazonaws.com", f"*.{REGIONAL}", f"*.s3.{REGIONAL}", f"api.ecr.{REGIONAL}"]


def remembered():
    """Facts of the account that outlive moto: the operator's key and the passwords in secrets.

    Every password holds a canary that can be looked for, and characters that break careless quoting.
    """
    path = addresses.STATE / "account.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    "operator": {"key": "AKIA" + secrets.token_hex(8).upper(), "secret": secrets.token_hex(20)},
                    "passwords": {
                        name: f"CANARY-{name}-{secrets.token_hex(8)}" + "\"\\'#${x}{{y}} &<>" for name in ("aurora", "warehouse")
                    },
                },
                indent=2,
            )
        )
    return json.loads(path.read_text())


@functools.cache
def client(service, role_credentials=None):
    """A boto3 client of the operator, or of a role whose credentials are given as a tuple."""
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    operator = remembered()["operator"]
    key, secret, token = role_credentials or (operator["key"], operator["secret"], None)
    return boto3.client(
        service,
        region_name=addresses.REGION,
        endpoint_url=addresses.AWS_ENDPOINT,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60
        ),
    )


def as_role(role, session="lab-test"):
    """Credentials of a role, to be given to `client`: what a host with that role may do."""
    made = client("sts").assume_role(RoleArn=f"arn:aws:iam::{addresses.ACCOUNT}:role/{role}", RoleSessionName=session)[
        "Credentials"
    ]
    return made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]


def answers():
    """Whether moto answers."""
    try:
        urllib.request.urlopen(addresses.AWS_ENDPOINT, timeout=2).close()
        return True
    except urllib.error.HTTPError:
        return True  # unsigned requests are refused
    except (urllib.error.URLError, OSError):
        return False


def generation():
    """Which life of moto this is: its account is empty at the start of each."""
    return docker.started_at(addresses.container("aws"))


def ensure():
    """Run the AWS front and wait until it answers."""
    operator = remembered()["operator"]
    tls = certificates.ensure_certificate("aws", certificates.PUBLIC, NAMES)
    RECORD.mkdir(parents=True, exist_ok=True)
    for name in ("calls.jsonl", "signals.jsonl"):
        shortcut = addresses.STATE / name
        if not shortcut.is_symlink():
            shortcut.symlink_to(RECORD / name)
    home = addresses.STATE / "aws"
    home.mkdir(exist_ok=True)
    state = docker.ensure_container(
        "aws",
        images.services(),
        [
            *docker.on_network(addresses.AWS),
            "-e",
            f"ACCOUNT={addresses.ACCOUNT}",
            "-e",
            f"OPERATOR_KEY={operator['key']}",
            "-e",
            f"OPERATOR_SECRET={operator['secret']}",
            "-v",
            f"{home}:/lab",
            "-v",
            f"{RECORD}:/lab/record",
            "-v",
            f"{tls}:/lab/tls:ro",
        ],
        ["python3", "-m", "aws.server"],
        also=(tls / "certificate.pem").read_text(),
    )
    docker.wait_healthy("aws", answers)
    progress.say("aws", f"{addresses.AWS_ENDPOINT} and TLS at *.{REGIONAL}: {state}")


def faults_file():
    return addresses.STATE / "aws" / "faults.json"
