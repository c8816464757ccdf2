"""Access control of the lab's AWS: the role of a host may do what its policy says, and nothing else."""

import base64
import json

import botocore.exceptions
import pytest

ROLE = "ops-sqlmesh-server"
PATH = "/ops-vpc/sqlmesh-server"


@pytest.fixture(scope="module")
def role(lab):
    """Clients with the credentials of the host's role."""
    credentials = lab.as_role(ROLE)
    return lambda service: lab.client(service, credentials)


def denied(call, code="AccessDeniedException"):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def test_parameters_of_the_role_can_be_read(role):
    found = role("ssm").get_parameters_by_path(Path=PATH, Recursive=True, WithDecryption=True)["Parameters"]
    assert f"{PATH}/database/host" in [parameter["Name"] for parameter in found]
    assert role("ssm").get_parameter(Name=f"{PATH}/database/host")["Parameter"]["Value"]


def test_other_parameters_are_denied_in_the_form_of_the_protocol(role):
    said = denied(lambda: role("ssm").get_parameter(Name="/ops-vpc/operations-host/x"))
    assert "is not authorized to perform: ssm:GetParameter" in said
    assert "parameter/ops-vpc/operations-host/x" in said
    denied(lambda: role("ssm").get_parameters_by_path(Path="/ops-vpc"))
    denied(lambda: role("ssm").put_parameter(Name=f"{PATH}/x", Value="1", Type="String"))


def test_objects(role, lab):
    s3 = role("s3")
    artifacts = lab.addresses.ARTIFACTS
    lab.client("s3").put_object(Bucket=artifacts, Key="other/x", Body=b"x")
    assert s3.get_object(Bucket=artifacts, Key="config/rds-ca.pem")["Body"].read()
    listed = s3.list_objects_v2(Bucket=artifacts, Prefix="config/")["Contents"]
    assert "config/rds-ca.pem" in [entry["Key"] for entry in listed]
    denied(lambda: s3.get_object(Bucket=artifacts, Key="other/x"), "AccessDenied")
    denied(lambda: s3.put_object(Bucket=artifacts, Key="config/x", Body=b""), "AccessDenied")


def test_an_object_that_has_not_changed_is_not_sent_again(role, lab):
    where = {"Bucket": lab.addresses.ARTIFACTS, "Key": "config/rds-ca.pem"}
    etag = role("s3").get_object(**where)["ETag"]
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        role("s3").get_object(**where, IfNoneMatch=etag)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304


def test_secrets(role, lab):
    lab.client("secretsmanager").create_secret(Name="other-secret", SecretString="x")
    try:
        secrets = role("secretsmanager")
        assert json.loads(secrets.get_secret_value(SecretId="snowflake-warehouse")["SecretString"])["password"]
        denied(lambda: secrets.get_secret_value(SecretId="other-secret"))
        wanted = ["aurora-data-operations", "other-secret", "snowflake-warehouse"]
        answer = secrets.batch_get_secret_value(SecretIdList=wanted)
        assert sorted(value["Name"] for value in answer["SecretValues"]) == [wanted[0], wanted[2]]
        assert [(error["SecretId"], error["ErrorCode"]) for error in answer["Errors"]] == [
            ("other-secret", "AccessDeniedException")
        ]
    finally:
        lab.client("secretsmanager").delete_secret(SecretId="other-secret", ForceDeleteWithoutRecovery=True)


def test_a_missing_secret_is_an_entry_of_a_successful_answer(lab):
    answer = lab.client("secretsmanager").batch_get_secret_value(SecretIdList=["snowflake-warehouse", "nowhere"])
    assert [value["Name"] for value in answer["SecretValues"]] == ["snowflake-warehouse"]
    assert [(error["SecretId"], error["ErrorCode"]) for error in answer["Errors"]] == [("nowhere", "ResourceNotFoundException")]


def test_registry_login(role):
    token = role("ecr").get_authorization_token()["authorizationData"][0]
    assert base64.b64decode(token["authorizationToken"]).startswith(b"AWS:")
    denied(lambda: role("ecr").describe_repositories())


def test_signals_of_the_own_stack_only(role, lab):
    signal = {"StackName": "ops-vpc-sqlmesh-server", "LogicalResourceId": "Test", "UniqueId": "i-test", "Status": "FAILURE"}
    role("cloudformation").signal_resource(**signal)
    last = lab.signals()[-1]
    assert (last["stack"], last["resource"], last["unique_id"], last["status"]) == tuple(signal.values())
    assert f"assumed-role/{ROLE}/" in last["principal"]
    denied(lambda: role("cloudformation").signal_resource(**{**signal, "StackName": "other"}), "AccessDenied")
    role("cloudformation").signal_resource(**{**signal, "UniqueId": "i-test s3://b/a key: no & such + thing"})
    assert lab.signals()[-1]["unique_id"] == "i-test s3://b/a key: no & such + thing"


def test_a_key_that_nobody_has_and_a_wrong_signature(lab):
    unknown = lab.client("ssm", ("AKIAXXXXXXXXXXXXXXXX", "x", None))
    denied(lambda: unknown.describe_parameters(), "UnrecognizedClientException")
    key, _, token = lab.as_role(ROLE)
    wrong = lab.client("ssm", (key, "wrong", token))
    denied(lambda: wrong.get_parameter(Name=f"{PATH}/database/host"), "InvalidSignatureException")


def test_calls_are_recorded(role, lab):
    before = len(lab.calls(role=ROLE))
    role("ssm").get_parameter(Name=f"{PATH}/database/host")
    call = lab.calls(role=ROLE)[-1]
    assert len(lab.calls(role=ROLE)) == before + 1
    assert (call["service"], call["action"], call["status"]) == ("ssm", "GetParameter", 200)
    assert call["resource"].endswith("parameter/ops-vpc/sqlmesh-server/database/host")
    assert call["start"] <= call["end"]


def test_calls_that_follow_each_other_are_deeper_than_calls_that_overlap(lab):
    overlapping = [{"start": 0, "end": 2}, {"start": 1, "end": 3}, {"start": 1, "end": 2}]
    assert lab.depth(overlapping) == 1
    assert lab.depth([*overlapping, {"start": 2.5, "end": 4}]) == 2
    assert lab.depth([]) == 0


def test_faults_on_request(role, lab):
    lab.faults({"call": "ssm:GetParameter", "code": "InternalServerError", "status": 500, "times": 1})
    try:
        denied(lambda: role("ssm").get_parameter(Name=f"{PATH}/database/host"), "InternalServerError")
        assert role("ssm").get_parameter(Name=f"{PATH}/database/host")
    finally:
        lab.faults()
