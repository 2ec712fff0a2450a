"""The document: what is written is read, and nothing else is taken for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.protocol import PROTOCOL
from supervisor.errors import SettingsError
from supervisor.kept import server
from supervisor.kept.clients import KeptBody, KeptClient, KeptExchange, KeptQuestion
from supervisor.kept.models import KeptLane, KeptModel, KeptReloads, KeptRequest
from supervisor.kept.server import FORM, Kept, KeptSockets, KeptState
from supervisor.kept.workers import KeptWorker
from supervisor.lifecycle.states import VersionRecord, VersionState
from supervisor.upgrade.keeping import descriptors

# Every kind of part, with whatever its fields may hold; the JSON of statistics and the like is any.
ANY = st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=3), max_size=2)
COUNTS = st.dictionaries(st.text(max_size=3), st.integers(0, 1 << 60), max_size=2)
BODIES = st.builds(KeptBody)
EXCHANGES = st.builds(
    KeptExchange, body=st.none() | BODIES, question=st.none() | st.builds(KeptQuestion)
)
CLIENTS = st.builds(KeptClient, exchange=st.none() | EXCHANGES)
RECORDS = st.builds(
    VersionRecord,
    state=st.sampled_from(VersionState),
    phases_ms=st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=2),
    changed_at=st.floats(0, 1e10),
)
LANES = st.builds(KeptLane, record=RECORDS, contract=ANY, since=st.floats(0, 1e10))
MODELS = st.builds(
    KeptModel,
    serving=st.none() | LANES,
    retained=st.none() | LANES,
    last_failure=st.none() | RECORDS,
    reloads=st.builds(KeptReloads, COUNTS, COUNTS, st.just({})),
    history=st.lists(ANY, max_size=2),
    statistics=ANY,
    requests=st.lists(st.builds(KeptRequest, contract=st.none() | ANY), max_size=2),
)
STATES = st.builds(
    KeptState,
    workers=st.lists(st.builds(KeptWorker), max_size=2),
    models=st.lists(MODELS, max_size=2),
    clients=st.lists(CLIENTS, max_size=2),
    ended_fronts=ANY,
)
KEPT = st.builds(Kept, form=st.just(FORM), protocol=st.just(PROTOCOL), state=st.none() | STATES)


def kept(**more: object) -> Kept:
    sockets = KeptSockets([[3]], ours=True, operators=[], admin=-1, admin_path="")
    return Kept(**{  # type: ignore[arg-type]  # some tests give what no program would
        "form": FORM, "protocol": PROTOCOL, "version": "1", "settings": {}, "sockets": sockets,
        "upgrades": 1, "began_ns": 0, **more,
    })  # fmt: skip


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[int]:
    fd = server.write(request.param)
    yield fd
    os.close(fd)


@given(KEPT)
def test_what_is_written_is_read(document: Kept) -> None:
    fd = server.write(document)
    try:
        assert server.read(fd) == document
        assert server.read(fd) == document  # twice: on trial, and in earnest
        named = descriptors(document)
        assert len(named) >= len([fd for front in document.sockets.fronts for fd in front])
        if document.state is not None:
            assert {client.socket for client in document.state.clients} <= {*named}
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "written",
    [kept(form=FORM + 1), kept(protocol=PROTOCOL + 1), kept(form=FORM + 1, settings=7)],
    indirect=True,
)
def test_a_document_of_another_form_is_refused_whatever_else_it_holds(written: int) -> None:
    with pytest.raises(SettingsError, match=r"hotpaddle 1, which runs, .* restart the server"):
        server.read(written)


@pytest.mark.parametrize("written", [kept(settings=7), kept(sockets=None)], indirect=True)
def test_a_document_that_is_none_is_refused(written: int) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        server.read(written)


def test_no_document_at_all_is_refused() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(SettingsError, match="cannot be read"):
        server.read(fd)
    os.close(fd)
