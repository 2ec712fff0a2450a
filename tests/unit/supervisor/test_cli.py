"""The command line: help, exit statuses, and what goes to which stream."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.settings import FIELDS

OPTIONS = {
    "serve": ["--config", *(f"--{name.replace('_', '-')}" for name in FIELDS)],
    "status": ["--url", "--json", "--watch"],
    "reload": ["--url", "--json", "--wait"],
    "rollback": ["model", "--url", "--json"],
    "manifest": ["directory"],
    "install-systemd": ["--root", "--dry-run"],
    "demo": ["--json", "--device", "--model-dir"],
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOTPADDLE_CONFIG", "HOTPADDLE_URL", "HOTPADDLE_MODEL_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("command", OPTIONS)
def test_help_of_each_command_tells_its_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert [option for option in OPTIONS[command] if not re.search(rf"{option}\b", text)] == []


def test_help_of_serve_tells_what_each_setting_takes_and_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "a whole number from 0 to 65535 [8000]" in text
    assert "one of auto, inotify, poll, off [auto]" in text
    assert "command line wins" in text


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert [command for command in OPTIONS if command not in text] == []


def test_without_a_command_the_help_is_shown_and_the_status_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    assert "usage: hotpaddle" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["serve", "--prot", "1"], ["rollback"], ["reload", "--wait", "soon"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: hotpaddle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "hotpaddle: model_repository is not set"),
        (["--port", "x"], "hotpaddle: command line: port = 'x': must be a whole number from 0"),
        (["--device", "tpu"], "hotpaddle: device = 'tpu': must be cpu"),
        (["--config", "/nowhere/x.toml"], "hotpaddle: /nowhere/x.toml: cannot be read"),
    ],
)
def test_bad_settings_end_with_2_and_a_message_on_standard_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments:
        arguments = ["--model-repository", "/srv/models", *arguments]
    assert cli.main(["serve", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(message)
    assert shown.err.count("\n") == 1


def test_the_configuration_file_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hotpaddle.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv("HOTPADDLE_CONFIG", str(file))
    assert cli.main(["serve"]) == 2
    assert f"{file}: unknown setting 'prot'" in capsys.readouterr().err


def test_the_servers_address_may_be_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOTPADDLE_URL", "ftp://hotpaddle")
    assert cli.main(["status"]) == 1
    assert "must start with http:// or https://" in capsys.readouterr().err


def test_manifest_writes_and_prints_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.json").write_bytes(b"{}")
    assert cli.main(["manifest", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/manifest.json\n"
    assert list(json.loads((tmp_path / "manifest.json").read_bytes())["files"]) == ["m.json"]


def test_manifest_of_no_directory_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["manifest", "/nowhere"]) == 1
    assert capsys.readouterr().err == "hotpaddle: /nowhere: No such file or directory\n"


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("supervisor.commands.status", interrupt)
    assert cli.main(["status"]) == 130
