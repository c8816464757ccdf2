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


def test_a_container_in_the_host_cannot_reach_it(lab):
    """As on an instance whose hop limit is 1: a request from another network namespace of the host times out."""
    script = f"""
        unshare --net sleep 30 & other=$!; sleep 0.3
        ip link add lab-a type veth peer name lab-b && ip link set lab-b netns $other
        ip address add 10.99.0.1/30 dev lab-a && ip link set lab-a up
        inside="nsenter --target $other --net"
        $inside ip address add 10.99.0.2/30 dev lab-b && $inside ip link set lab-b up
        $inside ip route add default via 10.99.0.1
        $inside curl -s -m 2 -o /dev/null http://10.99.0.1:9/; echo host $?
        $inside curl -s -m 2 -o /dev/null {SERVICE}/; echo service $?
        kill $other"""
    # 7: refused, so the host itself is reached; 28: timed out.
    assert lab.run(HOST, script).stdout.split("\n")[:2] == ["host 7", "service 28"]
