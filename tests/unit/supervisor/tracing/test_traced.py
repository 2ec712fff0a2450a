"""What spans say: which requests have some, their words, and times that are in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.link import Completion, Status, outcome_of
from gpu_worker.ipc.slots import Slot
from supervisor.access.access_log import GONE
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest
from supervisor.http.heads import Head
from supervisor.lifecycle.states import VersionRecord
from supervisor.repository.model_settings import ModelSettings
from supervisor.tracing.traced import Parent, Stage, Traced, sampled_parent, stages_of
from tests.unit.supervisor.dispatch.bench import CONTRACT

TRACE, SPAN = "a" * 32, "b" * 16
PARENT = Parent(int(TRACE, 16), int(SPAN, 16), 1)


def request(
    submitted_ns: int = 0, ran: tuple[int, int] | None = None, *, rows: int = 1
) -> InferRequest:
    """Make a request that was enqueued at 100."""
    one = InferRequest(
        1, Slot(0, 0, []), 0, CONTRACT, 1, (), lambda _: None, by_version=False, deadline_ns=0,
        enqueued_ns=100,
    )  # fmt: skip
    one.submitted_ns = submitted_ns
    if ran is not None:
        one.lane = Lane(VersionRecord("m", "v7", "v7@f"), CONTRACT, ModelSettings(), [])
        one.lane.generation = 3
        outcome = outcome_of(Status.OK, rows, leads=True)
        one.completion = Completion(1, 0, outcome, 0, 0, *ran, ran[1])
    return one


def told(head: Head, status: int, of: InferRequest | None = None) -> Traced:
    return Traced.of(PARENT, head, status, of, (50, 900), scheme="http", reloading=False)


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
@pytest.mark.parametrize("version", ["00", "01", "fe"])
def test_who_is_sampled(version: str, flags: str) -> None:
    found = sampled_parent(f"{version}-{TRACE}-{SPAN}-{flags}")
    assert found == PARENT._replace(flags=int(flags, 16))


@pytest.mark.parametrize(
    "trace",
    [
        "",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-02",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_who_is_not(trace: str) -> None:
    assert sampled_parent(trace) is None


@pytest.mark.parametrize(
    ("of", "stages"),
    [
        (request(), [("queue", 100, 900)]),
        (request(200), [("queue", 100, 200)]),
        (
            request(200, (300, 400)),
            [("queue", 100, 200), ("batch_wait", 200, 300), ("inference", 300, 400)],
        ),
        (request(200, (300, 300)), [("queue", 100, 200), ("batch_wait", 200, 300)]),
    ],
    ids=["queued", "submitted", "run", "refused by its worker"],
)
def test_stages_as_far_as_a_request_came(
    of: InferRequest, stages: list[tuple[str, int, int]]
) -> None:
    assert [stage[:3] for stage in stages_of(of, 900)] == stages


@given(st.integers(0, 1 << 64), st.integers(0, 1 << 64))
def test_stages_are_in_order_whatever_a_worker_says(started_ns: int, inferred_ns: int) -> None:
    stages = stages_of(request(200, (started_ns, inferred_ns)), 900)
    times = [time for stage in stages for time in stage[1:3]]
    assert times == sorted(times)
    assert (times[0], max(times) <= 900) == (100, True)


def test_an_answer_says_what_answered() -> None:
    one = told(Head(9, True, "m"), 200, request(200, (300, 400), rows=5))
    assert one.name == "POST /v2/models/{model}/infer"
    assert one.attributes == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "url.path": "/v2/models/m/infer",
        "url.scheme": "http",
        "hotpaddle.model": "m",
        "hotpaddle.version": "v7",
        "hotpaddle.generation": 3,
        "hotpaddle.reload": False,
    }
    assert (one.begun_ns, one.ended_ns, one.failed) == (50, 900, False)
    assert one.stages[-1] == Stage("inference", 300, 400, {"hotpaddle.batch_rows": 5})


@pytest.mark.parametrize(
    ("status", "failed", "kind"),
    [(200, False, None), (404, False, None), (503, True, "503"), (GONE, True, "client_gone")],
)
def test_a_failure_is_the_servers_or_a_client_that_has_gone(
    status: int, *, failed: bool, kind: str | None
) -> None:
    one = told(Head(9, True, "m", "v2"), status)
    assert one.name == "POST /v2/models/{model}/versions/{version}/infer"
    assert (one.failed, one.attributes.get("error.type")) == (failed, kind)
    code = one.attributes.get("http.response.status_code")
    assert code == (None if status == GONE else status)
    assert one.attributes["hotpaddle.version"] == "v2"
    assert "hotpaddle.generation" not in one.attributes


def test_names_that_clients_make_up_do_no_harm() -> None:
    one = told(Head(-1, model="a/{b}\udc80" + "x" * 9000, version="{model}"), 404)
    path = one.attributes["url.path"]
    assert isinstance(path, str)
    assert path.startswith("/v2/models/a%2F%7Bb%7D%3Fxxx")
    assert path.endswith("x/versions/%7Bmodel%7D/infer")
    assert len(path) < 300
    assert all(str(value).encode() for value in one.attributes.values())
