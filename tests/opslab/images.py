"""Images, tagged by a hash of their recipe: nothing is built twice without need."""

import hashlib
import pathlib
import shutil
import subprocess
import tempfile

from opslab import addresses, certificates, docker, progress

RECIPES = pathlib.Path(__file__).parent / "images"
INSIDE = pathlib.Path(__file__).parent / "inside"
MACHINE_AUTHORITIES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")

SUITE = "bookworm"
BASE_PACKAGES = "ca-certificates,python3-minimal"
BASE_COMMAND = [
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    f"--include={BASE_PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    SUITE,
]


def fingerprint(*parts):
    """A short hash over texts and over the files below directories."""
    digest = hashlib.sha256()
    for part in parts:
        files = [part]
        if isinstance(part, pathlib.Path) and part.is_dir():
            files = sorted(file for file in part.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        for file in files:
            if isinstance(file, pathlib.Path):
                digest.update(f"{file.name} {file.stat().st_mode:o} ".encode())
                digest.update(file.read_bytes())
            else:
                digest.update(str(file).encode())
            digest.update(b"\0")
    return digest.hexdigest()[:12]


def base():
    """A minimal Debian, made by mmdebstrap: there is no registry to pull one from."""
    tag = f"ops-lab/base:{fingerprint(*BASE_COMMAND)}"
    if docker.image_exists(tag):
        return tag
    progress.say("base image", f"making Debian {SUITE} by mmdebstrap (half a minute)…")
    with tempfile.TemporaryDirectory(dir=addresses.STATE) as directory:
        tar = f"{directory}/base.tar"
        log = addresses.STATE / "build-base.log"
        with open(log, "wb") as stream:
            if subprocess.run([*BASE_COMMAND, tar], stdout=stream, stderr=stream).returncode:
                raise progress.LabError(f"base image: mmdebstrap failed, see {log}")
        docker.run("import", "-c", 'CMD ["/bin/sh"]', tar, tag)
    return tag


def build(name, recipe, extra=(), arguments=()):
    """Build the image `ops-lab/NAME` from a directory with a Dockerfile, unless it is there.

    `extra` are files or directories put into the build context, as (source, name) pairs;
    `arguments` are further build arguments, as (name, value) pairs.
    """
    started_from = base()
    sources = [source for source, _ in extra if source != MACHINE_AUTHORITIES]
    tag = f"ops-lab/{name}:{fingerprint(started_from, recipe, *sources, *map(str, arguments))}"
    if docker.image_exists(tag):
        return tag
    progress.say(f"{name} image", "building…")
    log = addresses.STATE / f"build-{name}.log"
    with tempfile.TemporaryDirectory(dir=addresses.STATE) as directory:
        context = pathlib.Path(directory) / "context"
        shutil.copytree(recipe, context)
        for source, target in extra:
            if source.is_dir():
                shutil.copytree(source, context / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, context / target)
        options = ["--network", "host", "--build-arg", f"BASE={started_from}", "-t", tag]
        for argument in arguments:
            options += ["--build-arg", "=".join(argument)]
        with open(log, "wb") as stream:
            done = subprocess.run(["docker", "build", *options, context], stdout=stream, stderr=stream)
    if done.returncode:
        raise progress.LabError(f"{name} image: build failed: {log.read_text().strip().splitlines()[-1]} (see {log})")
    progress.say(f"{name} image", "built")
    return tag


def services():
    """The image of everything that is no host."""
    return build("services", RECIPES / "services", [(INSIDE, "inside"), (MACHINE_AUTHORITIES, "machine-ca.crt")])


def host():
    """The image of a host: stands for an AMI, and trusts the lab's public authority."""
    return build("host", RECIPES / "host", [(certificates.authority_file(certificates.PUBLIC), "lab-ca.crt")])
