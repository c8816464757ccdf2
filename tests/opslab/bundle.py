"""A SQLMesh project as a bundle that is the same for the same files, wherever it is made."""

import gzip
import hashlib
import io
import pathlib
import tarfile

from opslab import account, addresses, aws, progress

# What never belongs in a bundle: history, caches, and a file of secrets that SQLMesh would prefer to
# the environment.
LEFT_OUT = {".git", ".cache", ".env", "logs", "__pycache__"}


def contents(directory):
    """The files of a project in a fixed order, and the names that were left out."""
    kept, left_out = [], []
    for path in sorted(directory.rglob("*"), key=lambda path: path.relative_to(directory).as_posix()):
        inside = path.relative_to(directory)
        excluded = [part for part in inside.parts if part in LEFT_OUT]
        if not excluded:
            kept.append(path)
        elif inside.name in LEFT_OUT and len(excluded) == 1:
            left_out.append(inside.as_posix())
    return kept, left_out


def make(directory):
    """The bytes of the bundle and its SHA-256 in hex."""
    directory = pathlib.Path(directory).resolve()
    if not (directory / "config.yaml").is_file() and not (directory / "config.py").is_file():
        raise progress.LabError(f"{directory}: no SQLMesh project (neither config.yaml nor config.py)")
    kept, left_out = contents(directory)
    for name in left_out:
        progress.say("bundle", f"left out: {name}")
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in kept:
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise progress.LabError(f"{path}: only files and directories can be in a bundle")
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            entry.mtime = entry.uid = entry.gid = 0
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                content = path.read_bytes()
                entry.mode, entry.size = 0o644, len(content)
                tar.addfile(entry, io.BytesIO(content))
    packed = gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)
    return packed, hashlib.sha256(packed).hexdigest()


def publish(directory):
    """Upload the bundle and make it the project of the SQLMesh server. Returns its SHA-256."""
    packed, digest = make(directory)
    aws.client("s3").put_object(Bucket=addresses.ARTIFACTS, Key=f"projects/{digest}.tar.gz", Body=packed)
    account.put_parameter(addresses.BUNDLE_PARAMETER, digest)
    progress.say("bundle", f"{digest[:12]}… from {directory} ({len(packed)} bytes)")
    return digest
