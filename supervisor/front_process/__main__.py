"""A front's entry point: `python -m supervisor.front_process`, started by the supervisor only.

Owns the process: its death with the supervisor, its signals, its log. Argument: one JSON object,
see `FrontArguments`.
"""

from __future__ import annotations

import sys

import structlog
import uvloop

from gpu_worker.ipc.child import die_with, ignore_terminal_signals
from supervisor import logs
from supervisor.errors import SettingsError
from supervisor.front_process.app import FrontApp
from supervisor.fronts.arguments import FrontArguments

log = structlog.get_logger()


def main() -> int:
    """Run one front to its end; give its exit status."""
    arguments = FrontArguments.from_json(sys.argv[1])
    die_with(arguments.supervisor_pid)
    ignore_terminal_signals()
    logs.configure(arguments.settings.log_format, arguments.settings.log_level)
    try:
        uvloop.run(FrontApp(arguments).run())
    except SettingsError as error:  # a file that the supervisor could read has changed since
        log.error("a front cannot start", front=arguments.number, reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
