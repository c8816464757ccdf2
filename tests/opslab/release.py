"""The release of the current sources: built when they changed, uploaded, and named in the account."""

import base64
import hashlib
import os
import re
import subprocess

from opslab import account, addresses, aws, progress

BOOTSTRAP = addresses.ROOT / "bootstrap"
BUILD = BOOTSTRAP / "release"
USER_DATA = BOOTSTRAP / "user-data.sh"
BUILD_SECONDS = 1800

# Without a release to install there is still a host to boot: it leaves a marker and reads a parameter.
STUB_USER_DATA = """#!/bin/bash
set -eu
date > /root/marker
aws ssm get-parameter --region ${AWS::Region} --name /ops-vpc/sqlmesh-server/database/host \\
  --query Parameter.Value --output text >> /root/marker
echo "user-data of ${Role} in ${AWS::StackName}: done" | tee /dev/console
"""


def available():
    """Whether the sources have a way to make a release."""
    return BUILD.exists() and USER_DATA.exists()


def build():
    """Make the release of the current sources, unless it is there; returns its directory.

    The profile is OPS_RELEASE_PROFILE, as `bootstrap/release` reads it.
    """
    progress.say("release", "building ops-agent unless it is built… (minutes, the first time)")
    log = addresses.STATE / "build-release.log"
    with open(log, "wb") as stream:
        done = subprocess.run([BUILD], cwd=addresses.ROOT, stdout=subprocess.PIPE, stderr=stream, text=True, timeout=BUILD_SECONDS)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not os.path.isdir(addresses.ROOT / lines[-1]):
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise progress.LabError(f"release: {BUILD} failed: {last[0]} (see {log})")
    directory = str(addresses.ROOT / lines[-1])
    progress.say("release", f"is in {directory}")
    return directory


def publish(directory):
    """Upload a release directory and name it in the account. Returns the parameter's value."""
    s3 = aws.client("s3")
    files = {file.name: file for file in sorted(os.scandir(directory), key=lambda entry: entry.name) if file.is_file()}
    tarballs = [name for name in files if re.fullmatch(r"ops-agent-.+-x86_64\.tar\.gz", name)]
    if len(tarballs) != 1 or "install.sh" not in files:
        raise progress.LabError(f"release: {directory} must hold install.sh and one ops-agent-VERSION-x86_64.tar.gz")
    version = tarballs[0].removeprefix("ops-agent-").removesuffix("-x86_64.tar.gz")
    for name, file in files.items():
        with open(file.path, "rb") as stream:
            s3.put_object(Bucket=addresses.RELEASES, Key=f"releases/{version}/{name}", Body=stream.read())
    with open(files["install.sh"].path, "rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    value = f"{version} releases/{version}/install.sh {digest}"
    account.put_parameter(addresses.RELEASE_PARAMETER, value)
    progress.say("release", f"{version} published")
    return value


def substitute(template, values):
    """CloudFormation's Fn::Sub: ${Name} from values, ${!Literal} becomes ${Literal}."""

    def replace(found):
        literal, name = found.groups()
        if literal:
            return f"${{{name}}}"
        if name not in values:
            raise progress.LabError(f"user-data: ${{{name}}} is not known; ${{!{name}}} is a variable of the shell")
        return values[name]

    return re.sub(r"\$\{(!?)([^}]+)\}", replace, template)


def user_data(host, stub=False):
    """What the host's stack gives the instance as user-data; a stub installs nothing."""
    template = USER_DATA.read_text() if available() and not stub else STUB_USER_DATA
    text = substitute(
        template,
        {
            "Role": host.role,
            "AWS::Region": addresses.REGION,
            "AWS::StackName": host.stack,
            "AWS::AccountId": addresses.ACCOUNT,
            "Resource": host.resource,
            "ReleaseBucket": addresses.RELEASES,
            "ArtifactBucket": addresses.ARTIFACTS,
        },
    )
    if len(base64.b64encode(text.encode())) > 16384 * 4 // 3:
        raise progress.LabError("user-data: larger than the 16 KB that EC2 takes")
    return text
