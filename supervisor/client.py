"""The command line's client of a running server: its `/admin/` calls.

Owns how the server is addressed and what is said when it cannot be reached. Runs in the process of
`hotpaddle status`, `reload`, `rollback`; blocking.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any, Final

from supervisor.errors import HotpaddleError, SettingsError

_TIMEOUT_S: Final = 10.0
_UNIX: Final = "unix:"


class ServerUnreachableError(HotpaddleError):
    """Nobody answers at the address."""


class CallRefusedError(HotpaddleError):
    """The server answered with an error."""


class AdminClient:
    """Calls one server, at `http://`, `https://` or `unix:PATH`; `token` goes with each call."""

    def __init__(self, url: str, token: str = "", *, ca: str = "", certificate: str = "") -> None:
        """`ca` and `certificate` are PEM files for https.

        Raises:
            ServerUnreachableError: the address is none.
            SettingsError: a file cannot be used.

        """
        self._url = url.rstrip("/")
        self._token = token
        if self._url.startswith(_UNIX):
            path = self._url.removeprefix(_UNIX)
            path = f"/{path.lstrip('/')}" if path.startswith("//") else path
            self._base = "http://localhost"
            # A proxy that the environment names could not reach it.
            self._opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), _UnixHandler(path)
            )
        elif self._url.startswith(("http://", "https://")):
            self._base = self._url
            tls = _context(ca, certificate) if self._url.startswith("https:") else None
            self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls))
        else:
            raise ServerUnreachableError(
                f"--url {url!r} must start with http:// or https://, or be unix:PATH"
            )

    def call(self, method: str, path: str, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """Make one call and give the JSON object that it answers.

        Raises:
            ServerUnreachableError: nobody answers, or not as Hotpaddle does.
            CallRefusedError: the server says no; its reason.

        """
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._base}{path}", method=method, data=b"" if method == "POST" else None
        )
        if self._token:  # for this server, not for one that it may name
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise CallRefusedError(_reason(error)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ServerUnreachableError(
                f"no Hotpaddle answers at {self._url} ({error}); is it running? give its address "
                "with --url or HOTPADDLE_URL"
            ) from error
        if not isinstance(answer, dict):
            raise ServerUnreachableError(f"what answers at {self._url} is not Hotpaddle")
        return answer


def _context(ca: str, certificate: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise SettingsError(f"--ca {ca!r}: holds no PEM certificates: {error}") from error
    if certificate:
        try:
            context.load_cert_chain(certificate)
        except OSError as error:
            raise SettingsError(
                f"--cert {certificate!r}: holds no PEM certificate with its key: {error}"
            ) from error
    return context


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        reason = str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code} {error.reason}"
    if error.code == http.HTTPStatus.UNAUTHORIZED:
        return f"{reason}; give the token with --token-file or HOTPADDLE_TOKEN_FILE"
    return reason


class _UnixHandler(urllib.request.HTTPHandler):
    """Makes http: calls over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open one call."""
        path = self._path

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(self.timeout)
                self.sock.connect(path)

        return self.do_open(Connection, req)
