"""TLS: what a port's certificate files say, as a context for new connections.

Owns the demands on clients (TLS 1.2 at least; a certificate where `tls_client_ca` is set) and the
reading of the files, all or nothing. Never changes a context that is in use. Runs in the supervisor
and in further fronts.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from supervisor.access.settings import AccessSettings
from supervisor.errors import SettingsError


class Certificates:
    """The certificate files, and the context that was last made of them; None without TLS."""

    def __init__(self, settings: AccessSettings) -> None:
        """Read them.

        Raises:
            SettingsError: they cannot be used; names the setting.

        """
        self._settings = settings
        self._contents: list[bytes] = []
        self.context: ssl.SSLContext | None = None
        self.read()

    def read(self) -> None:
        """Read the files; where they say something new, make a new context.

        Raises:
            SettingsError: they cannot be used; the context stays what it was.

        """
        settings = self._settings
        if not settings.tls_certificate:
            return
        contents = [
            _contents(name, path)
            for name, path in (
                ("tls_certificate", settings.tls_certificate),
                ("tls_key", settings.tls_key),
                ("tls_client_ca", settings.tls_client_ca),
            )
            if path
        ]
        if contents != self._contents:
            self.context = _context(settings)
            self._contents = contents


def _contents(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting} = {path!r}: cannot be read: {error.strerror}") from error


def _context(settings: AccessSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key would be asked for at the terminal: nobody sits there.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"tls_certificate = {settings.tls_certificate!r}, tls_key = {settings.tls_key!r}: "
            f"are no PEM certificate and its unencrypted key: {error}"
        ) from error
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"tls_client_ca = {settings.tls_client_ca!r}: holds no PEM certificates: {error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
