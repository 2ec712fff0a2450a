"""Tokens: the secrets of a token file, and which kind a call's header holds.

Owns the file's form (one token a line, so that an old one may stay until all clients have the new
one; lines that begin with # say something) and the comparison, whose time tells nothing. Keeps
digests only. Runs in the supervisor and in further fronts.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from supervisor.access.policy import Credential
from supervisor.errors import SettingsError

log = structlog.get_logger()

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_LARGEST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one file; none without a file."""

    digests: tuple[bytes, ...] = ()

    def hold(self, token: str) -> bool:
        """Say whether a token is one of them; compares with all, whatever it finds."""
        digest, found = _digest(token), False
        for known in self.digests:
            found |= hmac.compare_digest(known, digest)
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def parse_tokens(text: str) -> Tokens:
    """Read the lines of a token file.

    Raises:
        ValueError: there is no token in it, or a line is none.

    """
    return Tokens(tuple(map(_digest, _tokens(text))))


def _tokens(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    numbered = [(at, one) for at, one in enumerate(lines, 1) if one and not one.startswith("#")]
    for at, one in numbered:
        if not _TOKEN.fullmatch(one):
            raise ValueError(f"line {at} is no token: letters, digits and ._~+/-= only")
    if not numbered:
        raise ValueError("holds no token")
    return [one for _, one in numbered]


def read_tokens(path: str, setting: str) -> Tokens:
    """Read a token file; "" is none. Warns of one that others may read.

    Raises:
        SettingsError: it cannot be read, or is none; names the setting.

    """
    if not path:
        return Tokens()
    text, mode = _read(path, setting)
    try:
        tokens = parse_tokens(text)
    except ValueError as error:
        raise SettingsError(f"{setting} = {path!r}: {error}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning(
            "anybody on this host can read a token file", setting=setting, path=path,
            mode=f"{mode:04o}", hint=f"chmod 600 {path}",
        )  # fmt: skip
    return tokens


def _read(path: str, setting: str) -> tuple[str, int]:
    """Give a file's text and its permissions."""
    try:
        with Path(path).open(encoding="ascii") as file:
            return file.read(_LARGEST), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise SettingsError(f"{setting} = {path!r}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting} = {path!r}: is not ASCII") from error


def first_token(path: str) -> str:
    """Give the token that a command sends; "" without a file.

    Raises:
        SettingsError: the file cannot be read, or holds none.

    """
    if not path:
        return ""
    text, _ = _read(path, "--token-file")
    try:
        return _tokens(text)[0]
    except ValueError as error:
        raise SettingsError(f"--token-file = {path!r}: {error}") from error


def credential_of(authorizations: Sequence[str], admin: Tokens, inference: Tokens) -> Credential:
    """Say what the `Authorization` headers of a call hold; more than one are none that is known."""
    if not authorizations:
        return Credential.NONE
    scheme, _, token = authorizations[0].strip().partition(" ")
    if scheme.lower() != "bearer" and len(authorizations) == 1:
        return Credential.NONE  # meant for somebody on the way
    token = token.strip()
    is_admin, is_inference = admin.hold(token), inference.hold(token)
    if len(authorizations) > 1:
        return Credential.UNKNOWN
    if is_admin:
        return Credential.ADMIN
    return Credential.INFERENCE if is_inference else Credential.UNKNOWN
