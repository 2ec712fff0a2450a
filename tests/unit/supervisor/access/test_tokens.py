"""Token files and the header that is compared with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from supervisor.access.policy import Credential
from supervisor.access.tokens import credential_of, first_token, parse_tokens, read_tokens
from supervisor.errors import SettingsError

ADMIN = parse_tokens("old-admin\nnew-admin\n")
INFERENCE = parse_tokens("client")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("abc", ["abc"]),
        ("abc\n", ["abc"]),
        ("  abc \r\n", ["abc"]),
        ("# the old one\nabc\n\n# the new one\nA-._~+/9==\n", ["abc", "A-._~+/9=="]),
    ],
)
def test_tokens_are_lines(text: str, held: list[str]) -> None:
    tokens = parse_tokens(text)
    assert len(tokens.digests) == len(held)
    for one in held:
        assert tokens.hold(one)
    for other in ("", "ab", "abcd", "ABC", "# the old one", "\udcff"):
        assert not tokens.hold(other)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no token"),
        ("\n# nothing\n", "holds no token"),
        ("abc\ntwo words", "line 2 is no token"),
        ('token = "abc"', "line 1 is no token"),
        ("=abc", "line 1 is no token"),
    ],
)
def test_what_is_no_token_file_is_refused(text: str, reason: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_tokens(str(file), "admin_token_file")
    assert str(caught.value).startswith(f"admin_token_file = {str(file)!r}: {reason}")


@pytest.mark.parametrize(
    ("authorizations", "credential"),
    [
        ([], Credential.NONE),
        (["Bearer old-admin"], Credential.ADMIN),
        (["bearer  new-admin "], Credential.ADMIN),
        (["BEARER client"], Credential.INFERENCE),
        (["Bearer clien"], Credential.UNKNOWN),
        (["Bearer"], Credential.UNKNOWN),
        (["Bearer old-admin new-admin"], Credential.UNKNOWN),
        (["Basic b2xkLWFkbWlu"], Credential.NONE),
        (["old-admin"], Credential.NONE),
        (["Bearer old-admin", "Bearer old-admin"], Credential.UNKNOWN),
        (["Basic x", "Bearer old-admin"], Credential.UNKNOWN),
    ],
)
def test_what_a_header_holds(authorizations: list[str], credential: Credential) -> None:
    assert credential_of(authorizations, ADMIN, INFERENCE) is credential


def test_without_a_file_no_token_is_right() -> None:
    none = read_tokens("", "admin_token_file")
    assert credential_of(["Bearer "], none, none) is Credential.UNKNOWN


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o602, 1)])
def test_a_file_that_anybody_can_read_is_warned_of(file: Path, mode: int, warnings: int) -> None:
    file.write_text("abc")
    file.chmod(mode)
    with capture_logs() as lines:
        assert read_tokens(str(file), "admin_token_file").hold("abc")
    assert [line["mode"] for line in lines] == [f"{mode:04o}"] * warnings


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(SettingsError, match=re.escape(f"{missing!r}: cannot be read: No such")):
        read_tokens(missing, "inference_token_file")
    with pytest.raises(SettingsError, match=r"--token-file = .*: cannot be read: Is a directory"):
        first_token(str(tmp_path))
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="is not ASCII"):
        first_token(str(file))


def test_a_command_sends_the_first_token(file: Path) -> None:
    file.write_text("# admin\nnew\nold\n")
    assert first_token(str(file)) == "new"
    assert first_token("") == ""
    file.write_text("")
    with pytest.raises(SettingsError, match=r"--token-file = .*: holds no token"):
        first_token(str(file))
