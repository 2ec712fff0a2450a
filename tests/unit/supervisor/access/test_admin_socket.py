"""The operators' socket as a file: made, taken over, left alone, removed."""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from supervisor.access.admin_socket import AdminSocket, listen_for_operators
from supervisor.errors import SettingsError
from supervisor.settings import Settings


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory() as folder:  # a socket's path may have 107 bytes
        yield Path(folder) / "admin.sock"


def listen(path: Path, **more: Any) -> AdminSocket:
    made = listen_for_operators(Settings(admin_socket=str(path), **more))
    assert made is not None
    return made


def test_none_is_made_unless_asked_for() -> None:
    assert listen_for_operators(Settings()) is None


@pytest.mark.parametrize(("mode", "bits"), [("0660", 0o660), ("600", 0o600), ("0666", 0o666)])
def test_it_has_the_permissions_that_were_asked_for(path: Path, mode: str, bits: int) -> None:
    one = listen(path, admin_socket_mode=mode, admin_socket_group=grp.getgrgid(os.getgid()).gr_name)
    with one.sock:
        found = path.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == bits
        assert found.st_gid == os.getgid()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    one.remove()
    assert not path.exists()


def test_a_stale_one_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    one = listen(path)
    with one.sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_one_that_lives_is_left_alone(path: Path) -> None:
    one = listen(path)
    with one.sock:
        with pytest.raises(SettingsError, match="another server listens there"):
            listen(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SettingsError, match="there is a file that is no socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_only_its_own_file_is_removed(path: Path) -> None:
    one = listen(path)
    with one.sock:
        path.unlink()
        other = listen(path)
        with other.sock:
            one.remove()
            assert path.exists()
            other.remove()
            assert not path.exists()


def test_what_systemd_hands_over_is_left_alone_and_another_path_is_made_beside_it(
    path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(path))
        handed.listen()
        before = path.stat()
        again = path.parent / "again"
        again.symlink_to(path.parent)
        for same in (path, again / path.name):
            settings = Settings(admin_socket=str(same), admin_socket_mode="0600")
            assert listen_for_operators(settings, [handed]) is None
        assert listen_for_operators(Settings(), [handed]) is None
        other = listen_for_operators(Settings(admin_socket=f"{path}.own"), [handed])
        assert other is not None
        with other.sock:
            other.remove()
        assert path.stat() == before


@pytest.mark.parametrize(
    ("where", "more", "reason"),
    [
        ("no/such/folder/x", {}, "cannot listen there: No such file"),
        ("x" * 120, {}, "cannot listen there: "),
        ("x", {"admin_socket_group": "no-such-group"}, "there is no such group"),
    ],
)
def test_what_cannot_be_is_told(path: Path, where: str, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        listen(path.parent / where, **more)
