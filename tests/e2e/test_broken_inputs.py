"""Inputs that are wrong or missing: one line says what, where and what to do, and what runs goes on running."""

import contextlib
import copy
import shutil

import account_state
import pytest
from artifacts import figure
from running import SCHEDULER, UI, Running, all_healthy
from test_secrets import SECRETS

OK, FAILED, SETTINGS, INPUTS, CHANGES = 0, 1, 3, 4, 6
KEPT = "/var/lib/ops-agent/inputs"


@pytest.fixture
def refused(agent, running):
    """Converge and check that it ended with this code, said this, and left everything running."""

    def check(code, *said):
        done = agent.converge()
        assert done.returncode == code, done.text
        for words in said:
            assert words in done.text, f"{words!r} is not in {done.text!r}"
        assert Running.on(agent).differs_from(running) == set()
        assert all_healthy(agent)
        return done

    return check


def line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def document(lab):
    return f"s3://{lab.addresses.ARTIFACTS}/config/sqlmesh-server.toml"


def test_an_unknown_key(agent, lab, refused):
    text = lab.settings().replace("interval_seconds = ", "intervall_seconds = ")
    lab.settings(text)
    refused(SETTINGS, f"{document(lab)} line {line_of(text, 'intervall')}: unknown key scheduler.intervall_seconds; "
                      "did you mean scheduler.interval_seconds?")
    status = agent.status()
    assert status.returncode == FAILED and "intervall_seconds" in status.stdout


def test_what_is_gone_comes_back_by_the_settings_that_last_were_valid(agent, lab, running):
    """As after a reboot: /run and with it the secrets are empty, and no container runs."""
    lab.settings(lab.settings().replace("interval_seconds = ", "intervall_seconds = "))
    agent.root(f"find {SECRETS} -type f -delete && docker rm -f {UI} && docker stop {SCHEDULER}")
    done = agent.converge()
    assert done.returncode == SETTINGS, done.text
    assert "unknown key scheduler.intervall_seconds" in done.text, done.text
    assert "holding the settings that last were valid (seen " in done.text, done.text
    lab.wait_until("healthy containers", lambda: all_healthy(agent), 60)
    report = agent.report()
    assert "intervall_seconds" in report["root_cause"] and report["run"]["outcome"] == "failed"
    assert agent.root(f"find {SECRETS} -type f").split()
    assert agent.status().returncode == FAILED
    assert "unknown key scheduler.intervall_seconds" in agent.plan().text
    assert agent.root(f"stat -c %a {KEPT}/valid.json").strip() == "600"


def test_a_value_of_the_wrong_type(lab, refused):
    text = lab.settings().replace('allow = ["172.22.0.0/16"]', 'allow = "172.22.0.0/16"')
    lab.settings(text)
    refused(SETTINGS, f'{document(lab)} line {line_of(text, "allow")}: ui.allow is a string, '
                      'expected a list of networks as in ["172.22.0.0/16"]')


def test_every_problem_is_told_at_once(lab, refused):
    lab.settings(lab.settings() + "\n[database]\nport = true\n")
    lab.put_parameter("ui/allow", "0.0.0.0/0")
    refused(SETTINGS, "database.port is a boolean, expected a TCP port, 1 to 65535",
            "parameter /ops-vpc/sqlmesh-server/ui/allow: ui.allow holds 0.0.0.0/0")


def test_a_secret_that_is_not_there(agent, lab, refused):
    name = lab.addresses.WAREHOUSE_SECRET
    account_state.delete_secret(lab, name)
    refused(FAILED, f"secret {name} does not exist in us-east-2: create it")
    outcomes = agent.outcomes()
    assert outcomes["secrets:sqlmesh"] == "failed"
    assert outcomes["container:ops-sqlmesh-ui"] == outcomes["container:ops-sqlmesh-scheduler"] == "skipped"
    assert outcomes["unit:ops-ui-proxy.service"] == "unchanged"
    assert agent.report()["root_cause"].startswith("secrets:sqlmesh: ")


def test_a_secret_without_a_key(lab, refused):
    name = lab.addresses.STATE_SECRET
    value = lab.secret(name)
    lab.secret(name, {key: value[key] for key in value if key != "password"})
    done = refused(FAILED, f"secret {name} has no key password: add it (it has ")
    assert value["password"] not in done.text


def test_an_image_that_is_not_there(agent, lab, refused):
    reference = f"{lab.addresses.REGISTRY_NAME}/sqlmesh@sha256:{'0' * 64}"
    lab.put_parameter("image/reference", reference)
    done = refused(FAILED, "manifest unknown")
    assert "image.reference" in done.text, done.text
    assert agent.outcomes()[f"image:{lab.addresses.REGISTRY_NAME}/sqlmesh@{'0' * 12}"] == "failed"
    assert agent.outcomes()["container:ops-sqlmesh-ui"] == "skipped"


def test_a_project_that_is_not_there(agent, lab, refused):
    lab.put_parameter("project/bundle", "0" * 64)
    refused(FAILED, f"s3://{lab.addresses.ARTIFACTS}/projects/{'0' * 64}.tar.gz")
    assert agent.outcomes()["container:ops-sqlmesh-ui"] == "skipped"


def test_a_project_that_cannot_be_planned(agent, lab, running, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(lab.project(), project)
    (project / "models" / "marts" / "broken.sql").write_text("MODEL (name marts.broken, kind FULL);\nSELEC 1\n")
    before = agent.root("readlink /var/lib/ops-agent/sqlmesh/current")
    lab.publish(project)
    done = agent.converge()
    assert done.returncode == FAILED, done.text
    assert "broken.sql" in done.text, done.text
    after = Running.on(agent)
    assert after.differs_from(running) <= {SCHEDULER}, "more than the scheduler was stopped for the plan"
    assert after.container_id(SCHEDULER) == running.container_id(SCHEDULER)
    assert agent.root("readlink /var/lib/ops-agent/sqlmesh/current") == before
    lab.wait_until("healthy containers", lambda: all_healthy(agent), 60)


def without(policy, service):
    """A policy that allows nothing of one service."""
    made = copy.deepcopy(policy)
    made["Statement"] = [one for one in made["Statement"]
                         if not all(action.startswith(f"{service}:") for action in one["Action"])]
    assert made != policy
    return made


@contextlib.contextmanager
def nothing_kept(agent):
    """A host that keeps no inputs from before, as at its first boot."""
    agent.root(f"mv {KEPT} {KEPT}.away && mkdir -m 0700 {KEPT}")
    try:
        yield
    finally:
        agent.root(f"rm -rf {KEPT} && mv {KEPT}.away {KEPT}")


DENIED = [
    ("s3", "objects", "allow s3:ListBucket on arn:aws:s3:::{bucket} to the instance's role"),
    ("ssm", "parameters", "allow ssm:GetParametersByPath on arn:aws:ssm:us-east-2:*:parameter/ops-vpc/sqlmesh-server"),
]


@pytest.mark.parametrize("service, source, said", DENIED)
def test_what_is_denied_is_held_and_said(agent, lab, refused, service, source, said):
    lab.policy(document=without(lab.policy(), service))
    said = said.format(bucket=lab.addresses.ARTIFACTS)
    done = refused(OK)
    held = agent.inputs()[source]
    assert held["freshness"] == "held" and "AccessDenied" in held["detail"] and said in held["detail"], held
    assert "AccessDenied" in done.text and said in done.text, "the run does not say what it holds"
    shown = agent.status().text
    assert said in shown, shown


@pytest.mark.parametrize("service, source, said", DENIED)
def test_what_is_denied_and_not_kept_stops_the_run(agent, lab, refused, service, source, said):
    lab.policy(document=without(lab.policy(), service))
    with nothing_kept(agent):
        refused(INPUTS, "AccessDenied", said.format(bucket=lab.addresses.ARTIFACTS))


def test_secrets_that_are_denied(agent, lab, refused):
    lab.policy(document=without(lab.policy(), "secretsmanager"))
    refused(FAILED, "AccessDenied", "allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:us-east-2:*:secret:",
            "secretsmanager:BatchGetSecretValue on *")
    assert agent.outcomes()["container:ops-sqlmesh-ui"] == "skipped"


@contextlib.contextmanager
def aws_away(lab):
    lab.aws_reachable(False)
    try:
        yield
    finally:
        lab.aws_reachable(True)


def test_aws_out_of_reach(agent, lab, refused):
    with aws_away(lab):
        done = refused(OK)
        figure("converge with AWS out of reach: seconds", round(done.seconds, 1))
        inputs = agent.inputs()
        assert [inputs[source]["freshness"] for source in ("parameters", "objects", "secrets")] == ["held"] * 3, inputs
        assert "holding" in done.text
        status = agent.status()
        assert status.returncode == OK and "held" in status.text, status.stdout
        figure("status with AWS out of reach: seconds, docker exec included", round(status.seconds, 3))
        assert agent.plan().returncode == OK
