"""The command line's client of a running server: its `/admin/` calls.

Owns how the server is addressed and what is said when it cannot be reached. Runs in the process of
`hotpaddle status`, `reload`, `rollback`; blocking.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Final

from supervisor.errors import HotpaddleError

_TIMEOUT_S: Final = 10.0


class ServerUnreachableError(HotpaddleError):
    """Nobody answers at the address."""


class CallRefusedError(HotpaddleError):
    """The server answered with an error."""


class AdminClient:
    """Calls one server."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise ServerUnreachableError(f"--url {url!r} must start with http:// or https://")

    def call(self, method: str, path: str, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """Make one call and give the JSON object that it answers.

        Raises:
            ServerUnreachableError: nobody answers, or not as Hotpaddle does.
            CallRefusedError: the server says no; its reason.

        """
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._url}{path}", method=method, data=b"" if method == "POST" else None
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
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


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code} {error.reason}"
