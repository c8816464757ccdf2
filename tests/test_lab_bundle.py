"""The bundle of a project: the same bytes for the same files, and nothing that must not travel."""

import io
import os
import shutil
import tarfile

import pytest
from opslab import bundle
from opslab.progress import LabError


@pytest.fixture
def project(tmp_path):
    made = tmp_path / "project"
    (made / "models").mkdir(parents=True)
    (made / "config.yaml").write_text("gateways: {}\n")
    (made / "models" / "a.sql").write_text("SELECT 1\n")
    return made


def names(packed):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return tar.getnames()


def test_the_same_files_give_the_same_bytes(project, tmp_path):
    first, digest = bundle.make(project)
    copy = tmp_path / "elsewhere"
    shutil.copytree(project, copy)
    os.utime(copy / "config.yaml", (1, 1))
    (copy / "config.yaml").chmod(0o600)
    assert bundle.make(copy) == (first, digest)


def test_a_changed_file_gives_another_digest(project):
    before = bundle.make(project)[1]
    (project / "models" / "a.sql").write_text("SELECT 2\n")
    assert bundle.make(project)[1] != before


def test_secrets_history_and_caches_are_left_out_and_named(project, capsys):
    (project / ".env").write_text("PASSWORD=x\n")
    (project / ".git").mkdir()
    (project / ".git" / "HEAD").write_text("x")
    (project / "models" / "__pycache__").mkdir()
    (project / "models" / "__pycache__" / "a.pyc").write_text("x")
    assert names(bundle.make(project)[0]) == ["config.yaml", "models", "models/a.sql"]
    said = capsys.readouterr().err
    assert "left out: .env" in said and "left out: .git\n" in said and ".git/HEAD" not in said


def test_a_directory_without_settings_is_no_project(tmp_path):
    with pytest.raises(LabError, match="no SQLMesh project"):
        bundle.make(tmp_path)


def test_a_link_is_refused(project):
    (project / "models" / "b.sql").symlink_to("/etc/passwd")
    with pytest.raises(LabError, match="b.sql: only files and directories"):
        bundle.make(project)
