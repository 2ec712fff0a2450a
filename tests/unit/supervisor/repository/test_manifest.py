"""The manifest: reading, comparing, writing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import VersionRejected
from supervisor.repository.manifest import (
    ManifestEntry,
    check_manifest,
    parse_manifest,
    write_manifest,
)

SHA = "ab" * 32
ENTRY = ManifestEntry(SHA, 3)


def manifest(**entry: Any) -> bytes:
    return json.dumps({"files": {"m.json": {"sha256": SHA, "size": 3, **entry}}}).encode()


def test_a_manifest_lists_files_with_hash_and_size() -> None:
    assert parse_manifest(manifest()) == {"m.json": ENTRY}
    assert parse_manifest(manifest(signature="of a later day")) == {"m.json": ENTRY}
    assert parse_manifest(b'{"files": {}, "more": 1}') == {}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"7", b'"files"', b"{}", b'{"files": []}', b'{"files": null}',
        b'{"files": "m.json"}', b"\xff\xff", b"\x00", b"[" * 100_000, b'{"files": ' + b"9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_with_the_form(data: bytes) -> None:
    with pytest.raises(VersionRejected) as caught:
        parse_manifest(data)
    assert caught.value.kind == "manifest"
    expected = 'manifest.json: is not {"files": {NAME: {"sha256": ..., "size": ...}}}'
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (manifest(sha256=SHA.upper()), "files['m.json'].sha256 must be 64 hexadecimal digits"),
        (manifest(sha256=SHA[1:]), "files['m.json'].sha256"),
        (manifest(sha256=SHA + "\n"), "files['m.json'].sha256"),
        (manifest(sha256=None), "files['m.json'].sha256"),
        (b'{"files": {"m.json": []}}', "files['m.json'].sha256"),
        (b'{"files": {"m.json": {}}}', "files['m.json'].sha256"),
        (manifest(size=-1), "files['m.json'].size must be a number of bytes"),
        (manifest(size=3.0), "files['m.json'].size"),
        (manifest(size="3"), "files['m.json'].size"),
        (manifest(size=True), "files['m.json'].size"),
        (manifest(size=None), "files['m.json'].size"),
        (b'{"files": {"../m": {}}}', "'../m' is not a file of this directory"),
        (b'{"files": {"": {}}}', "'' is not a file"),
        (b'{"files": {"..": {}}}', "'..' is not a file"),
        (b" " * (1 << 20) + b"{}", "is larger than 1048576 bytes"),
    ],
)
def test_a_bad_entry_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(VersionRejected) as caught:
        parse_manifest(data)
    assert str(caught.value).startswith(f"manifest.json: {message}")


def test_what_was_staged_must_be_listed_as_it_is() -> None:
    check_manifest({"m.json": ENTRY, "README": ENTRY}, {"m.json": ENTRY})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"n.json": ENTRY}, "manifest.json does not list n.json"),
        ({"m.json": ManifestEntry(SHA, 4)}, "m.json has 4 bytes, manifest.json says 3"),
        ({"m.json": ManifestEntry("cd" * 32, 3)}, f"m.json has SHA-256 {'cd' * 8}..., manifest"),
    ],
)
def test_a_staged_file_that_differs_is_refused(
    found: dict[str, ManifestEntry], message: str
) -> None:
    with pytest.raises(VersionRejected) as caught:
        check_manifest({"m.json": ENTRY}, found)
    assert str(caught.value).startswith(message)


def test_what_is_written_lists_every_visible_file(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(b"program")
    (tmp_path / "m.pdiparams").write_bytes(b"\0" * 100_000)
    (tmp_path / "ü.txt").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    path = write_manifest(tmp_path)
    assert path == tmp_path / "manifest.json"
    assert parse_manifest(path.read_bytes()) == {
        name: ManifestEntry(hashlib.sha256(data).hexdigest(), len(data))
        for name, data in
        [("m.json", b"program"), ("m.pdiparams", b"\0" * 100_000), ("ü.txt", b"")]
    }  # fmt: skip


def test_writing_again_replaces_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(b"1")
    before = write_manifest(tmp_path)
    with before.open("rb") as reader:
        old, inode = before.read_bytes(), before.stat().st_ino
        (tmp_path / "m.json").write_bytes(b"22")
        after = write_manifest(tmp_path)
        assert reader.read() == old
    assert after.stat().st_ino != inode
    assert parse_manifest(after.read_bytes())["m.json"].size == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "manifest.json"]


@given(data=st.binary(max_size=300))
def test_no_bytes_but_a_manifest_are_taken(data: bytes) -> None:
    with pytest.raises(VersionRejected):
        parse_manifest(data)


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: "/" not in name and name not in (".", "..")),
        st.tuples(st.from_regex(r"\A[0-9a-f]{64}\Z"), st.integers(min_value=0)),
    )
)
def test_every_well_formed_manifest_is_read_as_written(files: dict[str, tuple[str, int]]) -> None:
    value = {"files": {name: {"sha256": sha, "size": size} for name, (sha, size) in files.items()}}
    expected = {name: ManifestEntry(*entry) for name, entry in files.items()}
    assert parse_manifest(json.dumps(value).encode()) == expected
