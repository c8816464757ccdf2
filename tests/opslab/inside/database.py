"""PostgreSQL as Aurora Serverless: TLS only, a master user who is no superuser, and it can sleep.

PostgreSQL itself listens on port 5433 of this container; clients meet the front on 5432, which
passes bytes on, counts connections, and while the database sleeps holds or refuses them. As with
Aurora, the first connection wakes a sleeping database, which takes a while.

Environment: MASTER_USER, MASTER_PASSWORD_FILE, DATABASE (optional). Files: /lab/tls/*.pem.
Control, on port 5431: GET /status, POST /sleep?wake_after=SECONDS&mode=hold|refuse, POST /wake,
POST /reset (of the counts).
"""

import asyncio
import json
import os
import subprocess
import time
import urllib.parse

DATA = "/var/lib/postgresql/data"
BINARIES = "/usr/lib/postgresql/15/bin"
BACKEND_PORT, FRONT_PORT, CONTROL_PORT = 5433, 5432, 5431
CHUNK = 65536

ACCESS = """local all postgres peer
hostssl all all all scram-sha-256
hostnossl all all all reject
"""


def as_postgres(*command, **options):
    return subprocess.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command], check=True, **options)


def quoted(text):
    """An SQL literal (standard_conforming_strings is on: a backslash is itself)."""
    return "'" + text.replace("'", "''") + "'"


def sql(statement, database="postgres"):
    as_postgres(
        "psql",
        "-qXv",
        "ON_ERROR_STOP=1",
        "-p",
        str(BACKEND_PORT),
        "-d",
        database,
        input=statement,
        text=True,
        stdout=subprocess.DEVNULL,
    )


def start_postgres():
    """Make the cluster at first start; settings are given anew each time."""
    fresh = not os.path.exists(f"{DATA}/PG_VERSION")
    if fresh:
        os.makedirs(DATA, mode=0o700, exist_ok=True)
        subprocess.run(["chown", "postgres:", DATA], check=True)
        as_postgres(
            f"{BINARIES}/initdb",
            "-D",
            DATA,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--auth=peer",
            "--no-sync",
            stdout=subprocess.DEVNULL,
        )
    for name in ("certificate", "key"):
        subprocess.run(["install", "-o", "postgres", "-m", "0600", f"/lab/tls/{name}.pem", f"{DATA}/{name}.pem"], check=True)
    with open(f"{DATA}/pg_hba.conf", "w", encoding="utf-8") as stream:
        stream.write(ACCESS)
    os.makedirs("/run/postgresql", exist_ok=True)
    subprocess.run(["chown", "postgres:", "/run/postgresql"], check=True)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": BACKEND_PORT,
        "ssl": "on",
        "fsync": "off",
        "ssl_cert_file": f"{DATA}/certificate.pem",
        "ssl_key_file": f"{DATA}/key.pem",
        "ssl_min_protocol_version": "TLSv1.2",
        "password_encryption": "scram-sha-256",
        "shared_buffers": "64MB",
        "max_connections": 60,
        "log_connections": "on",
    }
    arguments = [f"-c{name}={value}" for name, value in settings.items()]
    server = subprocess.Popen(
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", f"{BINARIES}/postgres", "-D", DATA, *arguments]
    )
    while subprocess.run([f"{BINARIES}/pg_isready", "-qp", str(BACKEND_PORT)], check=False).returncode:
        if server.poll() is not None:
            raise SystemExit("postgres ended; see above")
        time.sleep(0.1)
    master = os.environ["MASTER_USER"]
    with open(os.environ["MASTER_PASSWORD_FILE"], encoding="utf-8") as stream:
        password = quoted(stream.read())
    if fresh:
        sql(f"CREATE ROLE {master} LOGIN CREATEDB CREATEROLE; GRANT pg_monitor, pg_signal_backend TO {master};")
        if database := os.environ.get("DATABASE"):
            sql(f"CREATE DATABASE {database} OWNER {master};")
    sql(f"ALTER ROLE {master} PASSWORD {password};")
    return server


class Front:
    """The door before the database."""

    def __init__(self):
        self.awake = asyncio.Event()
        self.awake.set()
        self.mode, self.wake_after, self.waking = "hold", 15.0, None
        self.connections, self.total, self.refused, self.wakes = set(), 0, 0, 0

    def status(self):
        return {
            "awake": self.awake.is_set(),
            "mode": self.mode,
            "wake_after": self.wake_after,
            "open": len(self.connections),
            "total": self.total,
            "refused": self.refused,
            "wakes": self.wakes,
        }

    def sleep(self, wake_after, mode):
        """Fall asleep: open connections end. Aurora sleeps only without any; a test need not wait for that."""
        self.awake.clear()
        self.wake_after, self.mode = wake_after, mode
        if self.waking:
            self.waking.cancel()
            self.waking = None
        for writer in list(self.connections):
            writer.close()

    def wake(self):
        self.awake.set()
        self.waking = None

    async def wake_later(self):
        await asyncio.sleep(self.wake_after)
        self.wakes += 1
        self.wake()

    async def accept(self, reader, writer):
        self.total += 1
        if not self.awake.is_set():
            if not self.waking:
                self.waking = asyncio.create_task(self.wake_later())
            if self.mode == "refuse":
                self.refused += 1
                writer.transport.abort()
                return
            await self.awake.wait()
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", BACKEND_PORT)
        except OSError:
            writer.transport.abort()
            return
        self.connections.add(writer)
        await asyncio.gather(self.pump(reader, back_writer), self.pump(back_reader, writer))
        self.connections.discard(writer)

    @staticmethod
    async def pump(reader, writer):
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def control(self, reader, writer):
        method, target, _ = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        known = True
        if (method, url.path) == ("POST", "/sleep"):
            self.sleep(float(query.get("wake_after", 15)), query.get("mode", "hold"))
        elif (method, url.path) == ("POST", "/wake"):
            self.wake()
        elif (method, url.path) == ("POST", "/reset"):
            self.total = self.refused = self.wakes = 0
        else:
            known = (method, url.path) == ("GET", "/status")
        body = json.dumps(self.status()).encode()
        head = f"HTTP/1.1 {'200 OK' if known else '404 Not Found'}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def main():
    server = start_postgres()
    front = Front()
    await asyncio.start_server(front.accept, "0.0.0.0", FRONT_PORT)
    await asyncio.start_server(front.control, "0.0.0.0", CONTROL_PORT)
    while server.poll() is None:
        await asyncio.sleep(1)
    raise SystemExit(f"postgres ended with {server.returncode}")


if __name__ == "__main__":
    asyncio.run(main())
