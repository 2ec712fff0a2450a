"""The installation of units: where files go, what stays, and what is said."""

from __future__ import annotations

import configparser
import os
import sysconfig
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.settings import load_settings
from supervisor.systemd import install as module
from supervisor.systemd.install import UNITS, install_systemd, systemd_version

COMMAND = f"{sysconfig.get_path('scripts')}/hotpaddle"
SYSTEM = "etc/systemd/system"
ALWAYS = {
    f"{SYSTEM}/hotpaddle.service",
    f"{SYSTEM}/hotpaddle.socket",
    f"{SYSTEM}/hotpaddle-admin.socket",
    "etc/sysusers.d/hotpaddle.conf",
    "etc/tmpfiles.d/hotpaddle.conf",
    "etc/hotpaddle/hotpaddle.toml",
}
NOTIFY_RELOAD = f"{SYSTEM}/hotpaddle.service.d/50-notify-reload.conf"


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def has_systemd(root: Path, name: str, folder: str = "usr/lib/x86_64-linux-gnu") -> None:
    (root / folder / "systemd").mkdir(parents=True)
    (root / folder / "systemd" / f"libsystemd-shared-{name}.so").touch()


def test_files_are_put_in_place_with_the_path_of_this_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["install-systemd", "--root", str(tmp_path)]) == 0
    assert files(tmp_path) == ALWAYS
    unit = (tmp_path / SYSTEM / "hotpaddle.service").read_text()
    assert f"\nExecStart={COMMAND} serve --config /etc/hotpaddle/hotpaddle.toml\n" in unit
    assert f"\nExecReload={COMMAND} reload --wait\n" in unit
    for name in ALWAYS:
        assert "@HOTPADDLE@" not in (tmp_path / name).read_text()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
    out = capsys.readouterr().out
    assert f"wrote     {tmp_path}/{SYSTEM}/hotpaddle.service\n" in out
    every = "hotpaddle.socket hotpaddle-admin.socket hotpaddle.service"
    assert f"systemctl enable --now {every}" in out


def test_settings_stay_and_units_are_renewed(tmp_path: Path) -> None:
    install_systemd(tmp_path, dry_run=False)
    settings, unit = tmp_path / "etc/hotpaddle/hotpaddle.toml", tmp_path / SYSTEM
    settings.write_text("mine")
    (unit / "hotpaddle.service").write_text("old")
    install_systemd(tmp_path, dry_run=False)
    assert settings.read_text() == "mine"
    assert "ExecStart=" in (unit / "hotpaddle.service").read_text()


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["install-systemd", "--root", str(tmp_path), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []
    out = capsys.readouterr().out
    assert out.count("would write ") == len(ALWAYS)
    assert "wrote" not in out


@pytest.mark.parametrize(
    ("name", "folder", "version"),
    [
        ("252", "usr/lib/x86_64-linux-gnu", 252),
        ("255.4-1.fc40", "usr/lib", 255),
        ("257", "usr/lib64", 257),
        ("none", "usr/lib", 0),
    ],
)
def test_notify_reload_is_for_a_systemd_that_knows_it(
    tmp_path: Path, name: str, folder: str, version: int
) -> None:
    has_systemd(tmp_path, name, folder)
    before = files(tmp_path)
    assert systemd_version(tmp_path) == version
    install_systemd(tmp_path, dry_run=False)
    expected = ALWAYS | ({NOTIFY_RELOAD} if version >= 253 else set())
    assert files(tmp_path) - before == expected


def test_what_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc").write_text("no folder")
    assert cli.main(["install-systemd", "--root", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "hotpaddle.service: cannot be written: Not a directory" in err


def test_a_home_is_no_place_for_a_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOMES", (f"{tmp_path}/home/",))
    install_systemd(tmp_path, dry_run=True)
    assert capsys.readouterr().err == ""
    scripts = tmp_path / "home/me/bin"
    scripts.mkdir(parents=True)
    (scripts / "hotpaddle").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts))
    install_systemd(tmp_path, dry_run=True)
    assert f"{scripts}/hotpaddle lies in a home directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "text"), [("missing", "install Hotpaddle with pip"), ("a b", "characters")]
)
def test_a_command_that_is_of_no_use_in_a_unit_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    text: str,
) -> None:
    scripts = tmp_path / folder
    if folder != "missing":
        scripts.mkdir()
        (scripts / "hotpaddle").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts))
    assert cli.main(["install-systemd", "--root", str(tmp_path / "root")]) == 1
    assert text in capsys.readouterr().err


def test_the_example_settings_are_settings() -> None:
    settings = load_settings({}, {}, UNITS / "hotpaddle.toml")
    assert settings.model_repository == Path("/srv/models")


def unit(name: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    parsed.read(UNITS / name)
    return parsed


def test_the_unit_has_room_for_what_the_settings_allow() -> None:
    service = unit("hotpaddle.service")["Service"]
    settings = load_settings({}, {}, UNITS / "hotpaddle.toml")
    stop_s = (settings.drain_ms + 2 * settings.stop_timeout_ms) / 1000
    assert float(service["TimeoutStopSec"]) > stop_s
    assert float(service["TimeoutStartSec"]) > 300  # `reload --wait`
    assert service["Type"] == "notify"


def test_operators_calls_have_a_socket_for_their_group() -> None:
    admin, service = unit("hotpaddle-admin.socket"), unit("hotpaddle.service")
    path = admin["Socket"]["ListenStream"]
    assert f"HOTPADDLE_URL=unix:{path}\n" in (UNITS / "hotpaddle.service").read_text()
    assert "RuntimeDirectory" not in service["Service"]  # it would go with the socket's file
    assert admin["Socket"]["Service"] == "hotpaddle.service"
    assert admin["Socket"]["FileDescriptorName"] == "admin"
    assert (admin["Socket"]["SocketMode"], admin["Socket"]["SocketGroup"]) == ("0660", "hotpaddle")


def test_the_package_holds_what_lies_at_the_top() -> None:
    top = Path(__file__).parents[4] / "systemd"
    assert files(top) == files(Path(os.path.realpath(UNITS)))
