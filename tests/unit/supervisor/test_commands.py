"""What status, reload and rollback print, and their exit statuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor import commands
from supervisor.client import AdminClient

SINCE = "2024-10-15T14:30:00.000Z"


def model(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "generation": 3,
        "serving": {"version": "v7", "since": SINCE},
        "retained": {"version": "v6", "since": SINCE},
        "candidate": None,
        "last_failure": None,
        "problem": "",
        "queued": 5,
        **more,
    }


def worker(number: int, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "device": "gpu:0",
        "pid": 4711,
        "state": "holding",
        "model": "ocr",
        "version": "v7",
        "in_flight": 1,
        "answered": 42,
        "rss_bytes": 300 << 20,
        **more,
    }


def state(*models: dict[str, Any], ready: bool = True, problem: str = "") -> dict[str, Any]:
    return {
        "server": {"version": "1.0", "pid": 12},
        "ready": ready,
        "repository": {"problem": problem},
        "models": list(models),
        "workers": [worker(1), worker(2, model="", version="", state="idle")],
        "fronts": [],
    }


def front(number: int, listening: bool) -> dict[str, Any]:
    arena = {"lent_bytes": 3 << 19} if listening else {}
    return {"number": number, "pid": 77, "listening": listening, "arena": arena,
            "rss_bytes": 58 << 20}  # fmt: skip


class CannedClient(AdminClient):
    """Answers what it was given and notes what it was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answer = answer
        self.calls: list[tuple[str, str]] = []

    def call(self, method: str, path: str, timeout_s: float = 1.0) -> dict[str, Any]:
        self.calls.append((method, path))
        return self.answer


def test_status_text_shows_each_model_and_worker_in_a_row() -> None:
    candidate = {"version": "v8", "state": "LOADING"}
    text = commands.status_text(state(model("ocr", candidate=candidate)))
    assert text.splitlines() == [
        "hotpaddle 1.0  pid 12  ready",
        "  MODEL  SERVING  GEN  SINCE                RETAINED  CANDIDATE   QUEUE",
        "  ocr    v7       3    2024-10-15 14:30:00  v6        v8 LOADING  5",
        "",
        "  WORKER  DEVICE  PID   STATE    HOLDS   IN FLIGHT  ANSWERED  MEMORY",
        "  1       gpu:0   4711  holding  ocr v7  1          42        300 MB",
        "  2       gpu:0   4711  idle     -       1          42        300 MB",
    ]


def test_status_text_shows_further_fronts() -> None:
    text = commands.status_text({**state(), "fronts": [front(1, True), front(2, False)]})
    assert text.splitlines()[-3:] == [
        "  FRONT  PID  STATE      ARENA IN USE  MEMORY",
        "  1      77   listening  1.5 MB        58 MB",
        "  2      77   starting   0.0 MB        58 MB",
    ]


def test_status_text_says_what_is_wrong() -> None:
    failure = {"version": "v8", "state": "REJECTED", "at": SINCE, "reason": "it is empty"}
    nothing = {"serving": None, "retained": None, "problem": "holds no version"}
    text = commands.status_text(
        state(
            model("a", last_failure=failure),
            model("b", **nothing),
            ready=False,
            problem="not there",
        )
    )
    assert "NOT READY" in text
    assert "  problem: not there" in text
    assert "  a: v8 REJECTED at 2024-10-15T14:30:00: it is empty" in text
    assert "  b: holds no version" in text
    assert "  b      -        3    -" in text


@pytest.mark.parametrize(("ready", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_status_ends_with_0_when_all_serve(
    ready: bool, status: int, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    canned = state(model("ocr"), ready=ready)
    assert commands.status(CannedClient(canned), as_json=as_json, watch=False) == status
    shown = capsys.readouterr().out.rstrip("\n")
    assert shown == (json.dumps(canned) if as_json else commands.status_text(canned))


def test_reload_does_not_wait_unless_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    client = CannedClient({"accepted": True})
    assert commands.reload(client, wait_s=None, as_json=False) == 0
    assert client.calls == [("POST", "/admin/reload")]
    assert "accepted" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_reload_that_waits_ends_with_1_when_a_version_was_refused(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    live = {"outcome": "live", "version": "v8", "generation": 4, "reason": ""}
    refused = {"outcome": "refused", "version": "v9", "generation": 0, "reason": "it is empty"}
    answer = {
        "ok": False, "problem": "", "complete": False, "verdicts": {"a": live, "b": refused}
    }  # fmt: skip
    client = CannedClient(answer)
    assert commands.reload(client, wait_s=2.5, as_json=as_json) == 1
    assert client.calls == [("POST", "/admin/reload?wait=2.5")]
    shown = capsys.readouterr().out
    if as_json:
        assert json.loads(shown) == answer
    else:
        assert shown.splitlines() == [
            "no verdict within 2.5 s; it goes on, `hotpaddle status` shows how",
            "a: live v8 generation 4",
            "b: refused v9: it is empty",
        ]


def test_rollback_says_what_serves_now(capsys: pytest.CaptureFixture[str]) -> None:
    client = CannedClient({"version": "v6", "generation": 8})
    assert commands.rollback(client, "ocr", as_json=False) == 0
    assert client.calls == [("POST", "/admin/models/ocr/rollback")]
    assert capsys.readouterr().out == "ocr: v6 serves, generation 8\n"


@pytest.mark.parametrize(
    ("name", "path"), [("a/b", "a%2Fb"), ("a b", "a%20b"), ("é", "%C3%A9"), ("a?b", "a%3Fb")]
)
def test_a_models_name_is_one_segment_of_the_path(name: str, path: str) -> None:
    client = CannedClient({"version": "v6", "generation": 8})
    commands.rollback(client, name, as_json=True)
    assert client.calls == [("POST", f"/admin/models/{path}/rollback")]


class Upgrading(AdminClient):
    """A server that is upgraded, or not, after a while."""

    def __init__(self, *phases: str, reason: str = "") -> None:
        self._phases = list(phases)
        self._reason = reason

    def call(self, method: str, path: str, timeout_s: float = 30.0) -> Any:
        del timeout_s
        if path == "/v2":
            return {"version": "2.0"}
        if method == "POST":
            return {"number": 4}
        phase = self._phases.pop(0) if len(self._phases) > 1 else self._phases[0]
        return {
            "number": 4, "phase": phase, "from": "1.0", "reason": self._reason, "pause_ms": 550.4
        }  # fmt: skip


@pytest.mark.parametrize(
    ("client", "status", "last"),
    [
        (
            Upgrading("trying", "waiting", "done"),
            0,
            "upgraded from 1.0 to 2.0; nobody was answered for 550 ms",
        ),
        (Upgrading("trying", "refused", reason="no room"), 1, "not upgraded: no room"),
        (Upgrading("waiting"), 1, "not upgraded within 0.2 s; it goes on, see the server's log"),
    ],
)
def test_an_upgrade_says_what_came_of_it(
    client: AdminClient, status: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.upgrade(client, wait_s=0.2 if status else 60, as_json=False) == status
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_an_upgrade_as_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.upgrade(Upgrading("trying", "done"), wait_s=60, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "done"
