"""R19: sealed texts and files open where they were sealed, under their key, and nowhere else."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fairlane import ConfigurationError, Settings
from fairlane.domain.sealing import BROKEN, ERASED, LOCKED, Field
from fairlane.encryption.keyring import MasterKeys
from fairlane.encryption.sealed_files import CHUNK, LONGEST_HEAD, opened_range, sealed_chunks
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable, derived

KEY, OTHER, SECRET = (bytes([number]) * 32 for number in (1, 2, 3))
JOB, ANOTHER = UUID(int=1), UUID(int=2)
GOLDEN = json.loads((Path(__file__).parent / "golden_seals.json").read_text(encoding="utf-8"))


def ring(organization: str = "acme", active: int | None = 1, **more) -> Ring:
    given = {"keys": {1: KEY, 2: OTHER}, "secret": SECRET, "missing": {}, "destroyed": ()}
    return Ring(organization, active=active, **{**given, **more})


def encoded(key: bytes) -> str:
    return b64encode(key).decode()


places = st.tuples(st.sampled_from(["acme", "acm", "beta"]), st.sampled_from([JOB, ANOTHER]), st.sampled_from(Field))


@given(places, places, st.text())
def test_a_text_opens_in_its_place_and_in_no_other(home, elsewhere, text):
    organization, job, field = home
    sealed = ring(organization).seal(job, field, text)
    assert sealed.startswith("fl1:1:")
    assert ring(organization, active=2).open(job, field, sealed) == text
    if elsewhere != home:
        with pytest.raises(Unreadable) as refused:
            ring(elsewhere[0]).open(elsewhere[1], elsewhere[2], sealed)
        assert refused.value.mark == BROKEN


@given(st.binary(max_size=80), st.integers(0, 200))
def test_a_text_that_was_changed_or_cut_is_refused(garbage, at):
    sealed = ring().seal(JOB, Field.RESULT, "a result")
    for changed in (f"fl1:1:{encoded(garbage)}", sealed[: at % len(sealed)], sealed.replace("fl1:1", "fl1:2")):
        if changed != sealed:
            with pytest.raises(Unreadable):
                ring().open(JOB, Field.RESULT, changed)


def test_the_form_is_that_of_the_golden_vectors():
    for one in GOLDEN["texts"]:
        with_key = ring(one["organization"], keys={one["version"]: b64decode(one["key"])}, active=one["version"])
        assert with_key.open(UUID(one["job"]), Field(one["field"]), one["sealed"]) == one["text"]
        # The same, without any code of Fairlane.
        data = b64decode(one["sealed"].split(":")[2])
        bound_to = "\x1f".join((one["organization"], one["job"], one["field"])).encode()
        opened = AESGCM(b64decode(one["key"])).decrypt(data[:12], data[12:], bound_to)
        assert opened.decode() == one["text"]
    for one in GOLDEN["hashes"]:
        assert ring(secret=b64decode(one["secret"])).hidden(one["digest"]) == one["hidden"]


def test_keys_are_derived_by_hkdf():
    theirs = HKDF(SHA256(), 32, salt=None, info=b"fairlane deduplication").derive(SECRET)
    assert derived(SECRET, "fairlane deduplication") == theirs


def test_no_two_seals_are_alike_and_hashes_are():
    assert ring().seal(JOB, Field.ERROR, "x") != ring().seal(JOB, Field.ERROR, "x")
    assert ring().hidden("ab") == ring(active=2).hidden("ab") != ring(secret=KEY).hidden("ab")


def test_what_can_not_be_opened_says_why():
    sealed = ring().seal(JOB, Field.ERROR, "x")
    destroyed = ring(keys={}, active=None, secret=None, destroyed=(0, 1))
    with pytest.raises(Unreadable, match="version 1 of its organization's encryption key was destroyed") as refused:
        destroyed.open(JOB, Field.ERROR, sealed)
    assert refused.value.mark == ERASED
    assert destroyed.seal(JOB, Field.ERROR, "x") == ERASED
    locked = ring(keys={}, secret=None, missing={0: "get it", 1: "get it"})
    with pytest.raises(KeyNotHere, match="get it") as refused:
        locked.open(JOB, Field.ERROR, sealed)
    assert refused.value.mark == LOCKED
    for unusable in (destroyed, locked):
        with pytest.raises(ConfigurationError):
            unusable.hidden("ab")
    with pytest.raises(ConfigurationError, match="get it"):
        locked.seal(JOB, Field.ERROR, "x")


def opened_file(keys, path, sealed, size):
    return b"".join(opened_range(keys, path, sealed[:LONGEST_HEAD], size, 0, size, lambda a, b: [sealed[a:b]]))


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_file_opens_at_its_path_whole_and_nowhere_else(size, tmp_path):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(data)
    for given_data in (data, tmp_path / "file"):
        sealed = b"".join(sealed_chunks(ring(), "acme/1", given_data))
        assert opened_file(ring(active=2), "acme/1", sealed, size) == data
        head = len(b"fl2:1\n") + 16
        chunk = CHUNK + 16
        swapped = sealed[:head] + sealed[head + chunk : head + 2 * chunk] + sealed[head : head + chunk]
        changed = [sealed[:-1], sealed[:head], sealed[: head + chunk], swapped, sealed[:9], b"fl2:1"]
        for other in changed:
            if other != sealed:
                with pytest.raises(Unreadable):
                    opened_file(ring(), "acme/1", other, size)
        for elsewhere in ((ring("beta"), "acme/1"), (ring(), "acme/2"), (ring(keys={1: OTHER}), "acme/1")):
            with pytest.raises(Unreadable):
                opened_file(*elsewhere, sealed, size)


def test_no_two_files_have_a_key_in_common():
    data = b"known text of both"
    one, other = (b"".join(sealed_chunks(ring(), "acme/1", data)) for _ in range(2))
    head = len(b"fl2:1\n") + 16
    # With the ids exchanged, neither opens: the id makes the key.
    with pytest.raises(Unreadable):
        opened_file(ring(), "acme/1", one[:head] + other[head:], len(data))
    key = HKDF(SHA256(), 32, salt=None, info=f"fairlane file {one[head - 16 : head].hex()}".encode()).derive(KEY)
    assert AESGCM(key).decrypt(bytes(11) + b"\x01", one[head:], b"file\x1facme\x1facme/1") == data


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_of_a_sealed_file_only_the_chunks_that_are_asked_for_are_read(size):
    data = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    sealed = b"".join(sealed_chunks(ring(), "acme/1", data))
    read = []

    def fetch(start, stop):
        read.append(stop - start)
        assert stop <= len(sealed)
        yield from (sealed[at : min(at + 1000, stop)] for at in range(start, stop, 1000))

    edges = sorted({at for edge in (0, 1, CHUNK, 2 * CHUNK, size) for at in (edge - 1, edge, edge + 1)})
    for start, stop in [(a, b) for a in edges for b in edges if 0 <= a < b <= size]:
        pieces = opened_range(ring(active=2), "acme/1", sealed[:LONGEST_HEAD], size, start, stop, fetch)
        assert b"".join(pieces) == data[start:stop]
        touched = (stop - 1) // CHUNK - start // CHUNK + 1
        assert read.pop() <= touched * (CHUNK + 16)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(Unreadable):
        list(opened_range(ring(), "acme/1", sealed, size, size - 1, size, lambda a, b: [changed[a:b]]))
    if size > CHUNK:
        with pytest.raises(Unreadable):  # it was cut where a chunk ends, and its size says so, too
            list(opened_range(ring(), "acme/1", sealed, CHUNK, 0, CHUNK, fetch))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("abc", "Key 1 of FAIRLANE_ENCRYPTION_KEYS has no name"),
        (":" + encoded(KEY), "Key 1 of FAIRLANE_ENCRYPTION_KEYS has no name"),
        (f"a:{encoded(KEY)},", "Key 2 of FAIRLANE_ENCRYPTION_KEYS has no name"),
        ("a:not*base64", "Key a of FAIRLANE_ENCRYPTION_KEYS is no base64"),
        ("a:" + encoded(KEY[:16]), "Key a of FAIRLANE_ENCRYPTION_KEYS has 16 bytes, and has to have 32"),
        (f"a:{encoded(KEY)},a:{encoded(OTHER)}", "two keys named a"),
    ],
)
def test_a_wrong_setting_is_told_and_not_shown(text, told):
    with pytest.raises(ConfigurationError, match=told) as refused:
        MasterKeys.parse(text)
    assert encoded(KEY) not in str(refused.value)
    assert "not*base64" not in str(refused.value)
    assert encoded(KEY) not in repr(Settings(encryption_keys=SecretStr(f"a:{encoded(KEY)}")))


def test_the_newest_master_key_wraps_and_all_unwrap():
    older, both = MasterKeys.parse(f"a:{encoded(KEY)}"), MasterKeys.parse(f" b:{encoded(OTHER)}, a:{encoded(KEY)}")
    wrapped = older.wrap("acme", 1, SECRET)
    assert both.unwrap("acme", 1, wrapped) == SECRET
    assert not both.wrapped_by_newest(wrapped)
    assert both.wrapped_by_newest(both.wrap("acme", 1, SECRET))
    with pytest.raises(KeyNotHere, match=r"master key b, which this process does not have: .* has only a"):
        older.unwrap("acme", 1, both.wrap("acme", 1, SECRET))
    with pytest.raises(KeyNotHere, match="is not set"):
        MasterKeys.parse(None).unwrap("acme", 1, wrapped)
    wrong = MasterKeys.parse(f"a:{encoded(OTHER)}")
    for mine, place in ((wrong, ("acme", 1)), (older, ("beta", 1)), (older, ("acme", 2))):
        with pytest.raises(KeyNotHere, match="does not open the key of organization"):
            mine.unwrap(*place, wrapped)
    with pytest.raises(ConfigurationError, match="There is no master key: set FAIRLANE_ENCRYPTION_KEYS"):
        MasterKeys.parse("").wrap("acme", 1, SECRET)
