"""The folder in which an artifact storage keeps files (R13)."""

import os
import stat
from pathlib import Path

import pytest

from fairlane import ConfigurationError
from fairlane.encryption.artifacts import ObjectStorage, default_url

NAMES = ["with a space", "100%", "50%20", "größe", "what?", "#1", "a+b", "a;b"]


@pytest.mark.parametrize("name", NAMES)
def test_files_are_in_the_folder_that_its_url_names(tmp_path: Path, name: str):
    folder = tmp_path / name
    storage = ObjectStorage(folder.as_uri())
    assert not folder.exists()
    storage.put("acme/file", b"words")
    assert (folder / "acme" / "file").read_bytes() == b"words"
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert ObjectStorage(folder.as_uri()).get("acme/file") == b"words"


def test_a_space_may_be_written_as_it_is(tmp_path: Path):
    ObjectStorage(f"file://{tmp_path}/with a space").put("acme/file", b"words")
    assert (tmp_path / "with a space" / "acme" / "file").exists()


def test_by_default_they_are_beside_the_database(tmp_path: Path):
    database = tmp_path / "with a space" / "jobs.db"
    ObjectStorage(default_url(f"sqlite:///{database}")).put("acme/file", b"words")
    assert (tmp_path / "with a space" / "jobs-artifacts" / "acme" / "file").exists()
    assert [one.name for one in tmp_path.iterdir()] == ["with a space"]


def test_a_folder_that_is_made_is_its_owner_s_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path):
    before = os.umask(0o022)
    try:
        made, kept = tmp_path / "made" / "here", tmp_path / "kept"
        kept.mkdir(mode=0o750)
        for folder in (made, kept):
            ObjectStorage(folder.as_uri()).put("acme/file", b"words")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (made, kept)] == [0o700, 0o750]
    assert stat.S_IMODE((kept / "acme" / "file").stat().st_mode) == 0o644


def test_a_url_with_two_slashes_is_refused_in_a_sentence():
    with pytest.raises(ConfigurationError, match="three slashes; write file:///files/here"):
        ObjectStorage("file://files/here")
