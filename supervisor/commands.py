"""The commands that ask a running server: status, reload, rollback; and manifest.

Owns what they print, for people or with `--json` for programs, and their exit statuses: 0 done,
1 refused or not in order. Runs in the process of the command.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from supervisor.client import AdminClient
from supervisor.repository.manifest import write_manifest

_CLEAR: Final = "\x1b[H\x1b[2J"
_MB: Final = 1 << 20
_POLL_S: Final = 0.1
_UPGRADING: Final = {
    "trying": "the installed program is being tried ...",
    "waiting": "waiting for what cannot be taken along (loads, TLS clients, large JSON) ...",
}


def status(client: AdminClient, *, as_json: bool, watch: bool, interval_s: float = 1.0) -> int:
    """Print what serves. Gives 0 when everything that shall serve does."""
    while True:
        state = client.call("GET", "/admin/models")
        if watch and sys.stdout.isatty() and not as_json:
            print(_CLEAR, end="")
        print(json.dumps(state) if as_json else status_text(state), flush=True)
        if not watch:
            return 0 if state["ready"] else 1
        time.sleep(interval_s)


def status_text(state: dict[str, Any]) -> str:
    """Write a status for people."""
    server = state["server"]
    ready = "ready" if state["ready"] else "NOT READY"
    lines = [f"hotpaddle {server['version']}  pid {server['pid']}  {ready}"]
    if state["repository"]["problem"]:
        lines.append(f"  problem: {state['repository']['problem']}")
    rows = [("MODEL", "SERVING", "GEN", "SINCE", "RETAINED", "CANDIDATE", "QUEUE")]
    for model in state["models"]:
        serving, retained, candidate = (model[k] for k in ("serving", "retained", "candidate"))
        rows.append(
            (
                model["name"],
                serving["version"] if serving else "-",
                str(model["generation"]),
                serving["since"][:19].replace("T", " ") if serving else "-",
                retained["version"] if retained else "-",
                f"{candidate['version']} {candidate['state']}" if candidate else "-",
                str(model["queued"]),
            )
        )
    lines.extend(_table(rows))
    for model in state["models"]:
        failure = model["last_failure"]
        if failure:
            lines.append(
                f"  {model['name']}: {failure['version']} {failure['state']} at "
                f"{failure['at'][:19]}: {failure['reason']}"
            )
        elif model["problem"] and not model["serving"]:
            lines.append(f"  {model['name']}: {model['problem']}")
    workers = [("WORKER", "DEVICE", "PID", "STATE", "HOLDS", "IN FLIGHT", "ANSWERED", "MEMORY")]
    workers.extend(
        (
            str(worker["number"]),
            worker["device"],
            str(worker["pid"]),
            worker["state"],
            f"{worker['model']} {worker['version']}" if worker["model"] else "-",
            str(worker["in_flight"]),
            str(worker["answered"]),
            f"{worker['rss_bytes'] / _MB:.0f} MB",
        )
        for worker in state["workers"]
    )
    lines += ["", *_table(workers)]
    if state["fronts"]:
        fronts = [("FRONT", "PID", "STATE", "ARENA IN USE", "MEMORY")]
        fronts.extend(
            (
                str(front["number"]),
                str(front["pid"]),
                "listening" if front["listening"] else "starting",
                f"{front['arena'].get('lent_bytes', 0) / _MB:.1f} MB",
                f"{front['rss_bytes'] / _MB:.0f} MB",
            )
            for front in state["fronts"]
        )
        lines += ["", *_table(fronts)]
    return "\n".join(lines)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def reload(client: AdminClient, *, wait_s: float | None, as_json: bool) -> int:
    """Have the repository looked at. With `wait_s`, gives 1 when a version was refused."""
    if wait_s is None:
        answer = client.call("POST", "/admin/reload")
        print(json.dumps(answer) if as_json else "accepted; `hotpaddle status` shows what comes")
        return 0
    answer = client.call("POST", f"/admin/reload?wait={wait_s:g}", timeout_s=wait_s + 10)
    if as_json:
        print(json.dumps(answer))
        return 0 if answer["ok"] else 1
    if answer["problem"]:
        print(answer["problem"])
    if not answer["complete"]:
        print(f"no verdict within {wait_s:g} s; it goes on, `hotpaddle status` shows how")
    for name, verdict in answer["verdicts"].items():
        generation = f" generation {verdict['generation']}" if verdict["generation"] else ""
        reason = f": {verdict['reason']}" if verdict["reason"] else ""
        print(f"{name}: {verdict['outcome']} {verdict['version']}{generation}{reason}")
    return 0 if answer["ok"] else 1


def rollback(client: AdminClient, model: str, *, as_json: bool) -> int:
    """Switch a model to its retained version."""
    verdict = client.call("POST", f"/admin/models/{quote(model, safe='')}/rollback")
    if as_json:
        print(json.dumps(verdict))
    else:
        print(f"{model}: {verdict['version']} serves, generation {verdict['generation']}")
    return 0


def upgrade(client: AdminClient, *, wait_s: float, as_json: bool) -> int:
    """Have the server's program replaced, and wait for it. Gives 1 when it was not."""
    number = client.call("POST", "/admin/upgrade")["number"]
    deadline = time.monotonic() + wait_s
    phase = ""
    while True:
        outcome = client.call("GET", "/admin/upgrade")
        over = outcome["number"] != number or outcome["phase"] in ("done", "refused")
        if over or time.monotonic() > deadline:
            break
        if outcome["phase"] != phase and not as_json:
            phase = outcome["phase"]
            print(_UPGRADING[phase], flush=True)
        time.sleep(_POLL_S)
    done = over and outcome["phase"] == "done"
    if as_json:
        print(json.dumps(outcome))
    elif done:
        version = client.call("GET", "/v2")["version"]
        print(
            f"upgraded from {outcome['from']} to {version}; nobody was answered for "
            f"{outcome['pause_ms']:.0f} ms"
        )
    elif over:
        print(f"not upgraded: {outcome['reason']}")
    else:
        print(f"not upgraded within {wait_s:g} s; it goes on, see the server's log")
    return 0 if done else 1


def manifest(directory: Path) -> int:
    """Write a version directory's manifest."""
    print(write_manifest(directory))
    return 0
