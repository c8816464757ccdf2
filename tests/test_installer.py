"""How the agent comes onto a host: user-data and installer, and above all what they say when they cannot.

The programs are the real ones. Only what they call outside is not: AWS, the metadata service, the console and the journal
are stubs on PATH that serve from a directory and write down what they were asked.
"""

import hashlib
import json
import os
import pathlib
import re
import stat
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BOOTSTRAP = ROOT / "bootstrap"
INSTANCE = "i-0123456789abcdef0"
NAMES = {
    "Role": "sqlmesh-server", "Resource": "SqlmeshServer", "ReleaseBucket": "releases", "ArtifactBucket": "artifacts",
    "AWS::Region": "us-east-2", "AWS::StackName": "ops-vpc-sqlmesh-server"}
FLAGS = ["--role", "sqlmesh-server", "--bucket", "artifacts", "--region", "us-east-2",
         "--stack", "ops-vpc-sqlmesh-server", "--resource", "SqlmeshServer"]
GOOD_AGENT = "#!/bin/sh\necho ops-agent\n"
BROKEN_AGENT = "#!/bin/sh\necho 'version `GLIBC_2.99'\"' not found\" >&2\nexit 1\n"

STUBS = {
    "aws": """#!/usr/bin/env python3
import json, os, pathlib, shutil, sys
world, words = pathlib.Path(os.environ["WORLD"]), sys.argv[1:]
def error(code, action, text):
    sys.exit(f"\\nAn error occurred ({code}) when calling the {action} operation: {text}")
if words[:2] == ["ssm", "get-parameter"]:
    if not (world / "parameter").exists():
        error("ParameterNotFound", "GetParameter", "")
    print((world / "parameter").read_text())
elif words[:2] == ["s3", "cp"]:
    source, destination = [word for word in words[2:] if not word.startswith("--")]
    path = world / "s3" / source.removeprefix("s3://")
    if not path.exists():
        sys.exit("fatal error: An error occurred (404) when calling the HeadObject operation: "
                 f"Key \\"{path.name}\\" does not exist")
    shutil.copy(path, destination)
elif words[:2] == ["cloudformation", "signal-resource"]:
    if (world / "no-signals").exists():
        error("AccessDenied", "SignalResource", "no signals today")
    with open(world / "signals", "a") as stream:
        stream.write(json.dumps(dict(zip(words[2::2], words[3::2]))) + "\\n")
else:
    sys.exit(f"the stub of aws knows no {words}")
""",
    # The metadata service: version 2 only, so a request without a token is an error.
    "curl": """#!/usr/bin/env python3
import os, pathlib, sys
world, words = pathlib.Path(os.environ["WORLD"]), sys.argv[1:]
with open(world / "imds", "a") as stream:
    stream.write(" ".join(words) + "\\n")
if (world / "no-imds").exists():
    sys.exit("curl: (28) Connection timed out")
if "PUT" in words and "X-aws-ec2-metadata-token-ttl-seconds: 60" in words and words[-1].endswith("/latest/api/token"):
    print("TOKEN")
elif "X-aws-ec2-metadata-token: TOKEN" in words and words[-1].endswith("/latest/meta-data/instance-id"):
    print("i-0123456789abcdef0", end="")
else:
    sys.exit("curl: (22) The requested URL returned error: 401")
""",
    "systemd-cat": """#!/bin/sh
cat >>"$WORLD/journal"
""",
}
# What would change this machine, should a refusal not refuse.
FORBIDDEN = ("install", "systemctl", "systemd-sysusers", "systemd-tmpfiles")


class World:
    """What lies outside of user-data: a bucket, a parameter, a console; and all that was done to them."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "bin").mkdir(parents=True)
        for name, text in STUBS.items():
            self.program(name, text)
        for name in FORBIDDEN:
            self.program(name, f"#!/bin/sh\necho 'forbidden: {name}' >&2\nexit 70\n")
        (directory / "tmp").mkdir()
        (directory / "console").touch()

    def program(self, name, text):
        path = self.directory / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def environment(self):
        return {"PATH": f"{self.directory}/bin:{os.environ['PATH']}", "WORLD": str(self.directory),
                "TMPDIR": str(self.directory / "tmp"), "AWS_EC2_METADATA_DISABLED": "true"}

    def put(self, key, content):
        path = self.directory / "s3" / "releases" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def name_release(self, version, installer):
        """Put an installer into the bucket and name it in the parameter."""
        key = f"releases/{version}/install.sh"
        self.put(key, installer)
        (self.directory / "parameter").write_text(f"{version} {key} {hashlib.sha256(installer).hexdigest()}")

    def publish(self, directory, version):
        for file in directory.iterdir():
            self.put(f"releases/{version}/{file.name}", file.read_bytes())
        self.name_release(version, (directory / "install.sh").read_bytes())

    def boot(self):
        """Run user-data as cloud-init does; only the console's path is another."""
        text = rendered().replace("/dev/console", str(self.directory / "console"))
        path = self.directory / "user-data"
        path.write_text(text)
        return subprocess.run(["bash", path], env=self.environment(), capture_output=True, text=True, timeout=60)

    def read(self, name):
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def signals(self):
        return [json.loads(line) for line in self.read("signals").splitlines()]

    def expect_failure(self, done, reason):
        """One line at each of the three places, and the instance's id and the reason in the signal."""
        assert done.returncode != 0
        line = f"ops-agent: boot failed: {reason}"
        assert self.read("console").splitlines() == [line]
        assert self.read("journal").splitlines() == [line]
        assert self.signals() == [{
            "--stack-name": "ops-vpc-sqlmesh-server", "--logical-resource-id": "SqlmeshServer", "--status": "FAILURE",
            "--unique-id": f"{INSTANCE} {reason}"[:64]}]


def rendered():
    """User-data as the stack gives it to the instance: Fn::Sub is done."""

    def value(found):
        return f"${{{found[2]}}}" if found[1] else NAMES[found[2]]

    return re.sub(r"\$\{(!?)([^}]+)\}", value, (BOOTSTRAP / "user-data.sh").read_text())


def pack(directory, agent=GOOD_AGENT, version="1.2.3", umask=0o022):
    """A release as the build makes it, around an agent that is a script."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "agent").write_text(agent)
    packed = directory / version
    subprocess.run([BOOTSTRAP / "pack", directory / "agent", version, packed], check=True, umask=umask,
                   env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
    return packed


def tarball(release):
    return next(release.glob("*.tar.gz"))


def repacked(release, change):
    """The release with its tarball's content changed, and the installer believing in it."""
    path, version = tarball(release), release.name
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    (release.parent / "open").mkdir()
    subprocess.run(["tar", "-xf", path, "-C", release.parent / "open"], check=True)
    change(release.parent / "open" / f"ops-agent-{version}")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(release.parent / "open" / f"ops-agent-{version}", f"ops-agent-{version}")
    installer = release / "install.sh"
    installer.write_text(installer.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))


def install(release, root, *flags, environment=None):
    (root / "etc").mkdir(parents=True, exist_ok=True)
    return subprocess.run(["bash", release / "install.sh", "--from", release, "--root", root, *flags],
                          capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})})


def snapshot(root):
    """Every file below root with what would show that it was touched."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_ino, status.st_mtime_ns)
    # Lock and directory times move when nothing does.
    return {name: seen if not seen[0].startswith("d") else seen[0] for name, seen in found.items()
            if name not in ("etc/.pwd.lock", "var/lib/ops-agent/installed")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


def test_user_data_is_short():
    text = (BOOTSTRAP / "user-data.sh").read_text()
    assert len(text.splitlines()) <= 20
    assert len(rendered().encode()) <= 16 * 1024
    assert set(re.findall(r"\$\{([^!}][^}]*)\}", text)) == set(NAMES)


def test_user_data_is_clean_shell(tmp_path):
    (tmp_path / "user-data.sh").write_text(rendered())
    subprocess.run(["shellcheck", tmp_path / "user-data.sh"], check=True)


def test_boot_runs_the_named_installer_with_what_the_stack_knows(world):
    world.name_release("1.2.3", b'printf "%s\\n" "$@" >"$WORLD/arguments"\n')
    done = world.boot()
    assert done.returncode == 0
    assert world.read("arguments").split() == ["--from", "s3://releases/releases/1.2.3", *FLAGS]
    assert (world.read("console"), world.read("journal"), world.signals(), world.read("imds")) == ("", "", [], "")


def test_boot_without_a_release_parameter(world):
    world.expect_failure(world.boot(), "read release: (ParameterNotFound) when calling the GetParameter operation: ")


def test_boot_without_the_installer(world):
    world.name_release("1.2.3", b"")
    (world.directory / "s3/releases/releases/1.2.3/install.sh").unlink()
    world.expect_failure(
        world.boot(), 'get installer: (404) when calling the HeadObject operation: Key "install.sh" does not exist')


@pytest.mark.parametrize("digest", ["0" * 64, ""])
def test_boot_does_not_run_an_installer_with_another_checksum(world, digest):
    world.name_release("1.2.3", b'touch "$WORLD/ran"\n')
    (world.directory / "parameter").write_text(f"1.2.3 releases/1.2.3/install.sh {digest}")
    world.expect_failure(world.boot(), "check installer: SHA-256 differs from SSM")
    assert not (world.directory / "ran").exists()


def test_boot_tells_what_the_installer_could_not_do(world, tmp_path):
    release = pack(tmp_path / "release")
    world.publish(release, "1.2.3")
    name = tarball(release).name
    whole = tarball(release).read_bytes()
    world.put(f"releases/1.2.3/{name}", whole[:-100])
    expected, actual = (hashlib.sha256(content).hexdigest() for content in (whole, whole[:-100]))
    world.expect_failure(
        world.boot(), f"check: wrong SHA-256: {name} has {actual}, this installer expects {expected}")
    assert "check: wrong SHA-256" in world.signals()[0]["--unique-id"]


def test_boot_without_the_tarball(world, tmp_path):
    release = pack(tmp_path / "release")
    world.publish(release, "1.2.3")
    name = tarball(release).name
    (world.directory / "s3/releases/releases/1.2.3" / name).unlink()
    world.expect_failure(
        world.boot(), f'download: (404) when calling the HeadObject operation: Key "{name}" does not exist'
                      f" (s3://releases/releases/1.2.3/{name})")


def test_boot_signals_even_without_metadata(world):
    (world.directory / "no-imds").touch()
    assert world.boot().returncode != 0
    assert [signal["--unique-id"][:21] for signal in world.signals()] == ["unknown read release:"]


def test_boot_says_so_when_it_cannot_signal(world):
    (world.directory / "no-signals").touch()
    assert world.boot().returncode != 0
    assert "(AccessDenied) when calling the SignalResource operation: no signals today" in world.read("journal")
    assert len(world.read("console").splitlines()) == 1


def test_release_is_the_same_for_the_same_sources(tmp_path):
    one, two = pack(tmp_path / "one"), pack(tmp_path / "two", umask=0o077)
    for name in (tarball(one).name, "install.sh"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_install_into_an_empty_root(tmp_path):
    root = tmp_path / "root"
    done = install(pack(tmp_path / "release"), root, *FLAGS)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"ops-agent 1.2.3 is installed in {root}\n")
    assert (root / "etc/ops-agent/host.toml").read_text() == (
        "# Who this host is; written by the installer of ops-agent.\n"
        'role = "sqlmesh-server"\nbucket = "artifacts"\nregion = "us-east-2"\n'
        '\n[signal]\nstack = "ops-vpc-sqlmesh-server"\nresource = "SqlmeshServer"\n')
    for path in (ROOT / "systemd").rglob("*.*"):
        if path.is_file():
            assert (root / path.relative_to(ROOT / "systemd")).read_bytes() == path.read_bytes()
    assert stat.filemode((root / "usr/bin/ops-agent").stat().st_mode) == "-rwxr-xr-x"
    for link in ("multi-user.target.wants/ops-agent.service", "timers.target.wants/ops-agent.timer",
                 "timers.target.wants/ops-agent-status.timer"):
        assert (root / "etc/systemd/system" / link).is_symlink()
    users = dict(line.split(":", 1) for line in (root / "etc/passwd").read_text().splitlines())
    assert users["sqlmesh-container"].startswith("x:10001:10001:") and "ops-ui-proxy" in users
    assert (root / "var/lib/ops-agent/sqlmesh/scheduler").stat().st_uid == 10001
    for directory, mode in (("run/ops-agent/secrets", 0o711), ("var/lib/ops-agent/inputs", 0o700),
                            ("etc/ops-agent/config.d", 0o755)):
        assert stat.S_IMODE((root / directory).stat().st_mode) == mode


def test_install_again_touches_nothing(tmp_path):
    root, release = tmp_path / "root", pack(tmp_path / "release")
    assert install(release, root, *FLAGS).returncode == 0
    before = snapshot(root)
    (tmp_path / "tmp").mkdir()
    assert install(release, root, *FLAGS, environment={"TMPDIR": str(tmp_path / "tmp")}).returncode == 0
    assert snapshot(root) == before
    assert list((tmp_path / "tmp").iterdir()) == []


def test_upgrade_keeps_the_last_binary_and_the_host_and_drops_what_is_gone(tmp_path):
    root = tmp_path / "root"
    assert install(pack(tmp_path / "old", version="1.0.0"), root, *FLAGS).returncode == 0
    gone = "usr/lib/systemd/system/ops-agent-gone.timer"
    (root / gone).write_text("[Timer]\n")
    with open(root / "var/lib/ops-agent/installed", "a", encoding="utf-8") as stream:
        stream.write(gone + "\n")
    theirs = root / "usr/lib/systemd/system/theirs.service"
    theirs.write_text("[Service]\n")
    host = (root / "etc/ops-agent/host.toml").read_text()
    done = install(pack(tmp_path / "new", agent=GOOD_AGENT + "# newer\n", version="2.0.0"), root)
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "usr/bin/ops-agent").read_text().endswith("# newer\n")
    assert (root / "usr/bin/ops-agent.previous").read_text() == GOOD_AGENT
    assert (root / "etc/ops-agent/host.toml").read_text() == host
    assert not (root / gone).exists() and theirs.exists()


def test_an_upgrade_that_is_cut_off_leaves_every_unit_whole(tmp_path):
    root, unit = tmp_path / "root", "usr/lib/systemd/system/ops-agent.service"
    assert install(pack(tmp_path / "old", version="1.0.0"), root, *FLAGS).returncode == 0
    (root / unit).write_text("# of the old release\n")
    # Power is lost when the first bytes of the new unit are not written yet.
    (tmp_path / "bin").mkdir()
    cut = tmp_path / "bin" / "install"
    cut.write_text('#!/bin/sh\nfor last; do :; done\ncase $last in *ops-agent.service*) : >"$last"; exit 137 ;; esac\n'
                   'exec /usr/bin/install "$@"\n')
    cut.chmod(0o755)
    new = pack(tmp_path / "new", agent=GOOD_AGENT + "# newer\n", version="2.0.0")
    path = f"{cut.parent}:{os.environ['PATH']}"
    assert install(new, root, environment={"PATH": path}).returncode != 0
    assert (root / unit).read_text() == "# of the old release\n"
    assert install(new, root).returncode == 0
    assert "converge" in (root / unit).read_text()
    assert not list(root.rglob("*.new"))


def test_a_user_id_that_is_taken_is_refused(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nsomebody:x:10001:10001::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nsomebody:x:10001:\n")
    done = install(pack(tmp_path / "release"), root, *FLAGS)
    assert done.returncode == 1
    assert re.search("users: sqlmesh-container has the user id [0-9]+, because 10001 is another user's", done.stderr)


def test_an_agent_that_does_not_run_replaces_nothing(tmp_path):
    root = tmp_path / "root"
    assert install(pack(tmp_path / "old", version="1.0.0"), root, *FLAGS).returncode == 0
    before = snapshot(root)
    done = install(pack(tmp_path / "new", agent=BROKEN_AGENT, version="2.0.0"), root)
    assert done.returncode == 1
    assert done.stderr == "binary: does not run here: version `GLIBC_2.99' not found (ops-agent 2.0.0)\n"
    assert snapshot(root) == before


def test_host_toml_changes_with_the_flags(tmp_path):
    root, release = tmp_path / "root", pack(tmp_path / "release")
    assert install(release, root, *FLAGS).returncode == 0
    assert install(release, root, "--role", "operations-host", "--bucket", "other", "--region", "us-east-1").returncode == 0
    assert (root / "etc/ops-agent/host.toml").read_text() == (
        "# Who this host is; written by the installer of ops-agent.\n"
        'role = "operations-host"\nbucket = "other"\nregion = "us-east-1"\n')


def forge_a_file(content):
    (content / "systemd/usr/lib/systemd/system/ops-agent.timer").write_text("[Timer]\nOnBootSec=1\n")


def add_a_file(content):
    (content / "systemd/usr/lib/systemd/system/more.service").write_text("[Service]\n")


def remove_a_file(content):
    (content / "LICENSE").unlink()


@pytest.mark.parametrize(("change", "message"), [
    (forge_a_file, "manifest: systemd/usr/lib/systemd/system/ops-agent.timer: FAILED\n"),
    (add_a_file, "manifest: the files of ops-agent-1.2.3-x86_64.tar.gz are not those that its SHA256SUMS lists\n"),
    (remove_a_file, "manifest: sha256sum: LICENSE: No such file or directory\n"),
])
def test_a_tarball_that_its_manifest_does_not_describe_is_refused(tmp_path, change, message):
    release = pack(tmp_path / "release")
    repacked(release, change)
    done = install(release, tmp_path / "root", *FLAGS)
    assert (done.returncode, done.stderr) == (1, message)
    assert not (tmp_path / "root/usr").exists()


def test_nothing_is_unpacked_before_the_checksum_is_right(tmp_path):
    release = pack(tmp_path / "release")
    tarball(release).write_bytes(b"not a tarball")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tar").write_text(f"#!/bin/sh\ntouch {tmp_path}/unpacked\n")
    (tmp_path / "bin/tar").chmod(0o755)
    done = install(release, tmp_path / "root", *FLAGS, environment={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    assert done.returncode == 1 and done.stderr.startswith("check: wrong SHA-256: ops-agent-1.2.3-x86_64.tar.gz has ")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize(("flags", "message"), [
    ([], "--role, --bucket and --region are missing, and there is no {root}/etc/ops-agent/host.toml to keep"),
    (["--role"], "--role needs a value"),
    (["--rôle", "x"], "unknown option --rôle"),
    (["--role", "r"], "--bucket '' is not a name (letters, digits, '-' and '.')"),
    (["--role", 'r"\nbucket = "b', "--bucket", "b", "--region", "r"],
     "--role 'r\"\nbucket = \"b' is not a name (letters, digits, '-' and '.')"),
    (["--role", "r", "--bucket", "b", "--region", "r", "--stack", "s"],
     "--resource '' is not a name (letters, digits, '-' and '.')"),
])
def test_flags_that_are_refused(tmp_path, flags, message):
    done = install(pack(tmp_path / "release"), tmp_path / "root", *flags)
    assert (done.returncode, done.stderr) == (1, f"arguments: {message.format(root=tmp_path / 'root')}\n")
    assert not (tmp_path / "root/usr").exists()
