"""The settings of access: who may call, over which way, how often and how slowly.

Owns their names, defaults and limits; part of `Settings`. Pure. Used before anything starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from supervisor.errors import SettingsError
from supervisor.fields import setting

_MODE: Final = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What `hotpaddle serve` can be told of access. An empty path means none."""

    admin_socket: str = setting(
        "",
        "path of a unix socket on which everything is allowed; one that systemd hands over is "
        "served beside it, or in its place where the path is the same",
    )
    admin_socket_mode: str = setting("0660", "permissions of admin_socket, octal")
    admin_socket_group: str = setting(
        "",
        "group that admin_socket is given to; empty: as is. The systemd unit does not let the "
        "server change it: there SocketGroup= of hotpaddle-admin.socket says it",
    )
    admin_token_file: str = setting(
        "", "file with bearer tokens, one a line, for operators' calls over TCP"
    )
    admin_from_loopback: bool = setting(
        True, "operators' calls from loopback addresses need no token"
    )
    inference_token_file: str = setting(
        "", "file with bearer tokens, one a line; with it, /v2/ calls over TCP need one"
    )
    tls_certificate: str = setting(
        "", "PEM file with the certificate, and those up to the authority; with it, TLS is spoken"
    )
    tls_key: str = setting("", "PEM file with the key of tls_certificate")
    tls_client_ca: str = setting(
        "", "PEM file with authorities; with it, clients must show a certificate of theirs"
    )

    max_connections: int = setting(
        0, "connections over TCP, per front; more are answered 503; 0: no limit",
        low=0, high=1_000_000,
    )  # fmt: skip
    max_requests_per_connection: int = setting(
        0, "a connection ends with the answer to so many requests; 0: no limit",
        low=0, high=1_000_000_000,
    )  # fmt: skip
    head_timeout_ms: int = setting(
        10_000,
        "time for a request's head to arrive, from its first byte; and for a TLS handshake",
        low=1,
        high=86_400_000,
    )
    idle_timeout_ms: int = setting(
        3_630_000, "a connection without a request for so long is closed", low=1, high=86_400_000
    )

    access_log: str = setting(
        "",
        "file that takes a JSON line for each request, opened anew by SIGHUP; -: standard output",
    )

    @property
    def scheme(self) -> str:
        """Give the scheme of the server's address."""
        return "https" if self.tls_certificate else "http"

    def check_access(self) -> None:
        """Check what concerns several fields, or a field's form.

        Raises:
            SettingsError: names the setting, its value and what is allowed.

        """
        if not _MODE.fullmatch(self.admin_socket_mode):
            raise SettingsError(
                f"admin_socket_mode = {self.admin_socket_mode!r}: must be three octal digits, "
                "such as 0660"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingsError("tls_certificate and tls_key must both be set, or none of them")
        if self.tls_client_ca and not self.tls_certificate:
            raise SettingsError("tls_client_ca is set without tls_certificate and tls_key")
