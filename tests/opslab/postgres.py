"""The two databases: SQLMesh's state as Aurora, and the warehouse in Snowflake's stead."""

import dataclasses
import json
import urllib.error
import urllib.parse
import urllib.request

from opslab import account, addresses, aws, certificates, docker, images, progress

CONTROL_PORT = 5431


@dataclasses.dataclass(frozen=True)
class Database:
    """One PostgreSQL server."""

    part: str
    ip: str
    host_name: str
    user: str
    secret: str
    database: str = ""

    def ensure(self):
        """Run the server; its data outlives the container in a volume."""
        tls = certificates.ensure_certificate(self.part, certificates.DATABASE, [self.host_name])
        home = addresses.STATE / self.part
        home.mkdir(parents=True, exist_ok=True)
        password = home / "password"
        password.touch(mode=0o600)
        password.write_text(aws.remembered()["passwords"][self.secret])
        state = docker.ensure_container(
            self.part,
            images.services(),
            [
                *docker.on_network(self.ip),
                "-v",
                f"{addresses.container(self.part)}:/var/lib/postgresql/data",
                "-v",
                f"{home}:/lab",
                "-v",
                f"{tls}:/lab/tls:ro",
                "--shm-size",
                "128m",
                "-e",
                f"MASTER_USER={self.user}",
                "-e",
                "MASTER_PASSWORD_FILE=/lab/password",
                "-e",
                f"DATABASE={self.database}",
            ],
            ["python3", "/opt/opslab/inside/database.py"],
            also=[(tls / "certificate.pem").read_text(), password.read_text()],
        )
        docker.wait_healthy(self.part, self.answers)
        progress.say(self.part, f"{self.host_name} {state}")

    def answers(self):
        try:
            return bool(self.status())
        except (urllib.error.URLError, OSError):
            return False

    def control(self, method, path, **query):
        """Speak to the front: see inside/database.py."""
        url = f"http://{self.ip}:{CONTROL_PORT}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as response:
            return json.load(response)

    def status(self):
        """Awake or not, and the counts of connections."""
        return self.control("GET", "/status")

    def sleep(self, wake_after=15.0, mode="hold"):
        """Fall asleep; the next connection wakes it, which takes `wake_after` seconds."""
        return self.control("POST", "/sleep", wake_after=wake_after, mode=mode)

    def wake(self):
        return self.control("POST", "/wake")

    def reset_counts(self):
        return self.control("POST", "/reset")

    def query(self, sql, database="postgres"):
        """Rows of a query run as the superuser inside the container, as lists of text."""
        out = docker.run(
            "exec",
            "-u",
            "postgres",
            addresses.container(self.part),
            "psql",
            "-qAtX",
            "-F",
            "\t",
            "-v",
            "ON_ERROR_STOP=1",
            "-p",
            "5433",
            "-d",
            database,
            "-c",
            sql,
        )
        return [line.split("\t") for line in out.splitlines()]


STATE = Database("db", addresses.STATE_DATABASE, addresses.STATE_DATABASE_NAME, account.MASTER_USER, "aurora")
WAREHOUSE = Database(
    "warehouse", addresses.WAREHOUSE, addresses.WAREHOUSE_NAME, account.WAREHOUSE_USER, "warehouse", account.WAREHOUSE_DATABASE
)
ALL = {database.part: database for database in (STATE, WAREHOUSE)}
