"""The guard: holds the tokens and certificates of this process, and refuses who may not.

Owns what was read of their files, and their reading anew: one that has become bad is logged, and
what was known before holds on. Decides nothing itself (`policy`). Runs in the supervisor and in
further fronts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import structlog

from supervisor.access.caller import Caller
from supervisor.access.policy import Call, Credential, Rules, Verdict, may
from supervisor.access.settings import AccessSettings
from supervisor.access.tls import Certificates
from supervisor.access.tokens import Tokens, credential_of, read_tokens
from supervisor.errors import Forbidden, SettingsError, Unauthorized

log = structlog.get_logger()


class Guard:
    """What one process knows of who may call."""

    def __init__(self, settings: AccessSettings) -> None:
        """Read what the settings name.

        Raises:
            SettingsError: a file cannot be used.

        """
        self._settings = settings
        self._rules = Rules(settings.admin_from_loopback, bool(settings.inference_token_file))
        self._admin, self._inference = self._read()
        self._certificates = Certificates(settings)
        self._changed: list[Callable[[], Awaitable[None]]] = []
        self._reading = asyncio.Lock()
        self._rereading: set[asyncio.Task[None]] = set()

    def _read(self) -> tuple[Tokens, Tokens]:
        return (
            read_tokens(self._settings.admin_token_file, "admin_token_file"),
            read_tokens(self._settings.inference_token_file, "inference_token_file"),
        )

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Give the context that new connections over TCP meet; None without TLS."""
        return self._certificates.context

    def when_changed(self, do: Callable[[], Awaitable[None]]) -> None:
        """Have `do` done each time after the files have been read anew."""
        self._changed.append(do)

    async def reread(self) -> None:
        """Read the files again; the event loop does not wait for the storage."""
        async with self._reading:
            try:
                self._admin, self._inference = await asyncio.to_thread(self._read)
            except SettingsError as error:
                log.error("the tokens stay as they were", reason=str(error))
            try:
                await asyncio.to_thread(self._certificates.read)
            except SettingsError as error:
                log.error("the certificates stay as they were", reason=str(error))
            for do in self._changed:
                await do()

    def reread_soon(self) -> None:
        """Read the files again, without anybody waiting for it."""
        task = asyncio.get_running_loop().create_task(self.reread())
        self._rereading.add(task)
        task.add_done_callback(self._rereading.discard)

    def admits(self, authorizations: Sequence[str]) -> bool:
        """Say whether any caller with these `Authorization` headers may ask for an inference."""
        if not self._rules.inference_by_token:
            return True
        credential = credential_of(authorizations, self._admin, self._inference)
        return credential in (Credential.INFERENCE, Credential.ADMIN)

    def check(self, call: Call, caller: Caller, authorizations: Sequence[str]) -> None:
        """Let a call pass, or not.

        Raises:
            Unauthorized: it brings no token and needs one.
            Forbidden: its token is not the right one.

        """
        credential = credential_of(authorizations, self._admin, self._inference)
        verdict = may(call, caller, credential, self._rules)
        if verdict is Verdict.ALLOWED:
            return
        ways = self._ways(call)
        if verdict is Verdict.ASKED:
            raise Unauthorized(f"this call needs {ways}")
        if credential is Credential.INFERENCE:
            raise Forbidden(f"the token is for inferences; this call needs {ways}")
        raise Forbidden(f"the token is not known here; this call needs {ways}")

    def _ways(self, call: Call) -> str:
        """Say what would do."""
        if call is Call.INFER:
            return "'Authorization: Bearer TOKEN' with a token of inference_token_file"
        ways = ["the unix socket (admin_socket)"]
        if self._settings.admin_from_loopback:
            ways.append("a loopback address")
        if self._settings.admin_token_file:
            ways.append("'Authorization: Bearer TOKEN' with a token of admin_token_file")
        else:
            ways.append("a bearer token, once admin_token_file is set")
        return f"{', '.join(ways[:-1])} or {ways[-1]}"
