"""The databases: TLS only, no superuser, asleep and waking; the registry: only ECR's login."""

import time

import pytest
from opslab import account, addresses, docker

CLIENT = addresses.container("warehouse")


def psql(lab, sql="SELECT 1", check=True, **options):
    """Ask the state database over the network, as a client that brings the authority's bundle."""
    docker.run("cp", addresses.STATE / "ca" / "rds.pem", f"{CLIENT}:/tmp/rds-ca.pem")
    settings = {
        "host": addresses.STATE_DATABASE_NAME,
        "dbname": "postgres",
        "user": account.MASTER_USER,
        "sslmode": "verify-full",
        "sslrootcert": "/tmp/rds-ca.pem",
        "connect_timeout": "10",
        **options,
    }
    target = " ".join(f"{key}={value}" for key, value in settings.items())
    script = f"PGPASSWORD=$(cat) psql -qAtX -c '{sql}' '{target}' 2>&1 || true"
    said = docker.run("exec", "-i", CLIENT, "sh", "-c", script, text=lab.canaries()["aurora"])
    return said


def test_with_the_bundle_and_the_password_of_the_secret(lab):
    assert psql(lab) == "1"


def test_the_master_user_makes_databases_but_is_no_superuser(lab):
    assert psql(lab, "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user") == "f|t"


def test_without_tls_it_refuses(lab):
    assert "pg_hba.conf rejects connection" in psql(lab, sslmode="disable")


def test_the_public_authorities_do_not_vouch_for_it(lab):
    assert "certificate verify failed" in psql(lab, sslrootcert="/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize("mode", ["hold", "refuse"])
def test_asleep_it_wakes_at_the_first_connection(lab, mode):
    database = lab.database()
    database.reset_counts()
    database.sleep(wake_after=1.5, mode=mode)
    began = time.monotonic()
    said = psql(lab)
    if mode == "hold":
        assert said == "1" and time.monotonic() - began >= 1.5
    else:
        assert "server closed the connection" in said or "Connection reset" in said
        time.sleep(1.7)
        assert psql(lab) == "1"
    status = database.status()
    assert (status["awake"], status["wakes"], status["refused"]) == (True, 1, int(mode == "refuse"))


def test_the_registry_takes_the_login_of_the_account_only(lab):
    from opslab import registry

    assert registry.request("/v2/")[0] == 200
    assert registry.request("/v2/", login=("AWS", "wrong"))[0] == 401
