"""Serving: the process of `hotpaddle serve`, from its settings to its end.

Owns the event loop, and what becomes of what another program has left to this one. Runs in the
supervisor's process, before and after everything else.
"""

from __future__ import annotations

import os

import structlog
import uvloop

from supervisor import signals
from supervisor.app import App
from supervisor.kept import server as kept_server
from supervisor.settings import Settings
from supervisor.systemd.handover import Handover
from supervisor.upgrade.keeping import descriptors
from supervisor.upgrade.program import replace_this, this_command
from supervisor.upgrade.taking_up import NotTakenUp, check, end_all

log = structlog.get_logger()


def try_to_serve(settings: Settings, document: int) -> int:
    """Say whether this program could go on with what a document names; gives the exit status.

    Raises:
        HotpaddleError: it could not; says why.

    """
    check(kept_server.read(document), settings)
    return 0


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
    try:
        uvloop.run(App(settings, handover, kept).run())
    except NotTakenUp as error:
        log.critical(
            "what was served cannot be gone on with: beginning anew, clients wait",
            reason=str(error),
        )
        assert kept.state is not None
        signals.block()
        end_all(kept.state)
        _begin_anew(kept, handover)


def _begin_anew(kept: kept_server.Kept, handover: Handover) -> None:
    """Run this program once more, with nothing but the sockets that listen."""
    bare = kept_server.without_state(kept)
    fd = kept_server.write(bare)
    replace_this(this_command(), handover.environment(), fd, descriptors(bare))
