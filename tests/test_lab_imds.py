"""The metadata service in a host: version 2 only, credentials of the host's role."""

import json

import pytest

HOST = "sqlmesh-server"
SERVICE = "http://169.254.169.254/latest"


@pytest.fixture(scope="module")
def get(lab):
    """Ask the metadata service inside the host; returns (status, body)."""
    token = lab.run(HOST, f"curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {SERVICE}/api/token").stdout

    def ask(path, options=f"-H 'X-aws-ec2-metadata-token: {token}'"):
        body, _, status = lab.run(HOST, f"curl -s -w '\\n%{{http_code}}' {options} {SERVICE}/{path}").stdout.rpartition("\n")
        return int(status), body

    return ask


def test_version_1_is_refused(get):
    assert get("meta-data/instance-id", options="") == (401, "")


def test_a_token_that_was_not_given_out_is_refused(get):
    assert get("meta-data/instance-id", options="-H 'X-aws-ec2-metadata-token: made-up'") == (401, "")


@pytest.mark.parametrize("seconds", ["0", "21601", "x"])
def test_a_token_needs_a_lifetime_that_ec2_allows(get, seconds):
    assert get("api/token", options=f"-X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: {seconds}'")[0] == 400


def test_who_the_instance_is(get, lab):
    status, identity = get("meta-data/instance-id")
    assert status == 200
    document = json.loads(get("dynamic/instance-identity/document")[1])
    assert (document["instanceId"], document["region"]) == (identity, "us-east-2")
    assert get("meta-data/tags/instance/Name") == (200, "ops-sqlmesh-server")
    known = lab.client("ec2").describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]
    assert known["PrivateIpAddress"] == get("meta-data/local-ipv4")[1] == "172.22.2.10"


def test_credentials_are_those_of_the_role(get, lab):
    assert get("meta-data/iam/security-credentials/") == (200, "ops-sqlmesh-server")
    made = json.loads(get("meta-data/iam/security-credentials/ops-sqlmesh-server")[1])
    who = lab.client("sts", (made["AccessKeyId"], made["SecretAccessKey"], made["Token"])).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::123456789012:assumed-role/ops-sqlmesh-server/{get('meta-data/instance-id')[1]}"


def test_what_is_not_there(get):
    assert get("meta-data/public-ipv4")[0] == 404


def test_port_80_of_the_host_is_free(lab):
    assert ":80 " not in lab.run(HOST, "ss -ltnH | grep 169.254 || true").stdout
