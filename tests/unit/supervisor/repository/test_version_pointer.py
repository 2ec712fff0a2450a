"""The version pointer: what its bytes may be, and which names are safe."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.repository.version_pointer import VersionPointer, is_safe_name, read_pointer


def pointer(directory: Path, data: bytes) -> VersionPointer:
    (directory / "model_version.txt").write_bytes(data)
    found = read_pointer(directory)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"v7",
        b"v7\n",
        b"v7\r\n",
        b"v7\r",
        b"\xef\xbb\xbfv7",
        b"\xef\xbb\xbfv7\r\n",
        b"  v7 \t\n\n",
        b"\n\nv7",
        b"v7".ljust(4096),
    ],
)
def test_blanks_line_ends_and_byte_order_mark_are_ignored(tmp_path: Path, data: bytes) -> None:
    assert pointer(tmp_path, data) == VersionPointer("v7")


@pytest.mark.parametrize("data", [b"", b" ", b"\r\n", b"\xef\xbb\xbf", b"\t \n"])
def test_an_empty_pointer_is_a_problem(tmp_path: Path, data: bytes) -> None:
    assert pointer(tmp_path, data) == VersionPointer(problem="model_version.txt is empty")


@pytest.mark.parametrize("data", [b"v7".ljust(4097), b"\0" * (1 << 20)])
def test_a_pointer_that_is_too_large_is_a_problem(tmp_path: Path, data: bytes) -> None:
    assert pointer(tmp_path, data).problem == "model_version.txt is larger than 4096 bytes"


@pytest.mark.parametrize("data", [b"\xff\xfev\x007\x00", b"v7\xe9", b"\xc0\xaf"])
def test_a_pointer_that_is_not_utf8_is_a_problem(tmp_path: Path, data: bytes) -> None:
    assert pointer(tmp_path, data) == VersionPointer(problem="model_version.txt is not UTF-8")


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../v7", "/etc", "v7/..", ".v7", "-v7", "_v7", "+v7", "v 7", "v7\nv8", "v\0",
        "vö", "v" * 129, "v7\\", "~", "v7;", "v7\ufeff",
    ],
)  # fmt: skip
def test_an_unsafe_name_is_a_problem_and_is_shown(tmp_path: Path, name: str) -> None:
    found = pointer(tmp_path, name.encode())
    assert found.version == ""
    assert f"names {name[:80]!r}, which is no version name" in found.problem


def test_a_model_without_pointer_has_none(tmp_path: Path) -> None:
    assert read_pointer(tmp_path) is None
    assert read_pointer(tmp_path / "not there") is None


def test_a_directory_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "model_version.txt").mkdir()
    expected = "model_version.txt cannot be read: Is a directory"
    assert read_pointer(tmp_path) == VersionPointer(problem=expected)


def test_a_link_in_a_circle_is_a_problem_and_one_to_nowhere_is_no_pointer(tmp_path: Path) -> None:
    link = tmp_path / "model_version.txt"
    link.symlink_to("model_version.txt")
    found = read_pointer(tmp_path)
    assert found is not None
    assert "cannot be read: Too many levels" in found.problem
    link.unlink()
    link.symlink_to("nowhere")
    assert read_pointer(tmp_path) is None


@pytest.mark.parametrize("name", ["v7", "0", "20241015_1430", "v1.2.3+cu118", "a-b_c", "v" * 128])
def test_usual_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@given(st.text() | st.from_regex(r"\A[./a-z0-9_+\n-]*\Z"))
@example("v7\n")
@example("")
@example("..")
def test_a_safe_name_stays_in_its_directory(name: str) -> None:
    if is_safe_name(name):
        assert 1 <= len(name) <= 128
        assert name.isascii()
        assert name[0].isalnum()
        assert not set(name) & set("/\\\0\n\r ")
        assert (Path("/repository") / name).parent == Path("/repository")


@given(data=st.binary(max_size=200))
def test_no_bytes_make_reading_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    found = pointer(tmp_path_factory.mktemp("model"), data)
    assert bool(found.version) != bool(found.problem)
    assert not found.version or is_safe_name(found.version)
