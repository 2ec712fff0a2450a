"""Serving: the process of `hotpaddle serve`, from its settings to its end.

Owns the event loop, and what becomes of what another program has left to this one. Runs in the
supervisor's process, before and after everything else.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import structlog
import uvloop

from supervisor import signals
from supervisor.access.access_log import AccessLog
from supervisor.access.admin_socket import listen_for_operators
from supervisor.access.guard import Guard
from supervisor.app import App
from supervisor.kept import server as kept_server
from supervisor.settings import Settings
from supervisor.systemd.handover import Handover
from supervisor.tracing.opening import open_spans
from supervisor.upgrade.keeping import descriptors
from supervisor.upgrade.program import replace_this, this_command
from supervisor.upgrade.taking_up import check, end_all

log = structlog.get_logger()


def try_to_serve(settings: Settings, document: int) -> int:
    """Say whether this program could go on with what a document names; gives the exit status.

    Raises:
        HotpaddleError: it could not; says why.

    """
    kept = kept_server.read(document)
    check(kept, settings)
    asyncio.run(_try_files(settings, kept))
    return 0


async def _try_files(settings: Settings, kept: kept_server.Kept) -> None:
    """Open what the settings name, as a start would."""
    Guard(settings)
    if settings.access_log:
        await AccessLog(settings.access_log).close()
    spans = open_spans(settings.trace_endpoint, settings.scheme)
    if spans is not None:
        await spans.close()
    if settings.admin_socket not in ("", kept.sockets.admin_path):
        beside = replace(settings, admin_socket=f"{settings.admin_socket}.trial")
        made = listen_for_operators(beside)
        if made is not None:
            made.remove()


def serve(settings: Settings, handover: Handover, document: int = -1) -> None:
    """Serve until told to stop; with a document, go on with what it names.

    Raises:
        HotpaddleError: the server cannot be started.

    """
    if document < 0:
        uvloop.run(App(settings, handover).run())
        return
    kept = kept_server.read(document)
    for fd in (document, *descriptors(kept)):
        os.set_inheritable(fd, False)  # no child shall have them
    os.close(document)
    app = App(settings, handover, kept)
    try:
        uvloop.run(app.run())
    except Exception as error:
        if kept.state is None or app.is_up:
            raise
        log.critical(
            "what was served cannot be gone on with: beginning anew, clients wait",
            reason=str(error) or repr(error),
        )
        signals.block()
        end_all(kept.state)
        _begin_anew(kept, handover)


def _begin_anew(kept: kept_server.Kept, handover: Handover) -> None:
    """Run this program once more, with nothing but the sockets that listen."""
    bare = kept_server.without_state(kept)
    fd = kept_server.write(bare)
    replace_this(this_command(), handover.environment(), fd, descriptors(bare))
