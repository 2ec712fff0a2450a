"""The service: which message goes to systemd, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.errors import NotReady
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.states import VersionRecord, VersionState
from supervisor.systemd import service as module
from supervisor.systemd.handover import Handover
from supervisor.systemd.service import Phase, Service
from tests.unit.supervisor.dispatch.bench import Bench
from tests.unit.supervisor.http.loops import until
from tests.unit.supervisor.systemd.receiver import Receiver, receiver


class Manager:
    """A model manager whose passes end when the test says so."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.models = {"m": Model("m", self.bench.dispatcher)}
        self.repository_problem = ""
        self.reloads: list[str] = []
        self.passes: list[asyncio.Future[None]] = []

    @property
    def ready(self) -> bool:
        return all(model.dispatcher.ready for model in self.models.values())

    def reload(self, trigger: str) -> None:
        self.reloads.append(trigger)

    async def reconciled(self, trigger: str) -> Any:
        del trigger
        self.passes.append(asyncio.get_running_loop().create_future())
        await self.passes[-1]

    def serve(self, version: str) -> None:
        self.bench.dispatcher.switch(self.bench.lane(version))


class Site:
    """A service, its manager, and systemd's end."""

    def __init__(self, there: Receiver, watchdog_s: float = 0.0) -> None:
        self.manager = Manager()
        self.there = there
        self.late: list[str] = []
        self.asked = 0
        self.service = Service(Handover(there.address, watchdog_s), self.manager, self.overdue)

    def overdue(self) -> list[str]:
        self.asked += 1
        return self.late

    async def wait(self, name: str, count: int = 1) -> dict[str, str]:
        """Wait for so many messages that set a variable; give the last."""
        await until(lambda: len(self.there.having(name)) >= count)
        return self.there.having(name)[-1]

    async def wait_status(self, line: str) -> None:
        await until(lambda: self.there.status == line)


@asynccontextmanager
async def site(watchdog_s: float = 0.0) -> AsyncIterator[Site]:
    with receiver() as there:
        one = Site(there, watchdog_s)
        one.service.start()
        try:
            yield one
        finally:
            one.service.close()


async def test_ready_is_said_once_and_only_when_every_model_serves() -> None:
    async with site() as one:
        first = await one.wait("STATUS")
        assert "READY" not in first
        assert first["STATUS"] == (
            "starting; serving no model; not ready m: no version has been loaded yet"
        )
        assert int(first["EXTEND_TIMEOUT_USEC"]) == 30_000_000
        other = Model("n", Dispatcher("n", one.manager.bench.arena))
        one.manager.models["n"] = other
        one.manager.serve("v1")
        await one.wait_status("starting; serving m v1; not ready n: no version has been loaded yet")
        assert one.there.having("READY") == []
        del one.manager.models["n"]
        ready = await one.wait("READY")
        assert ready == {"READY": "1", "STATUS": "serving m v1"}
        one.manager.serve("v2")
        await one.wait_status("serving m v2")
        assert len(one.there.having("READY")) == 1


async def test_more_time_is_asked_for_again_while_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_EXTEND_EVERY_S", 0.0)
    async with site() as one:
        await one.wait("EXTEND_TIMEOUT_USEC", 3)
        one.manager.serve("v1")
        await one.wait("READY")
        count = len(one.there.having("EXTEND_TIMEOUT_USEC"))
        one.manager.serve("v2")
        await one.wait_status("serving m v2")
        assert len(one.there.having("EXTEND_TIMEOUT_USEC")) == count


async def test_a_reload_is_told_from_its_begin_to_the_end_of_its_pass() -> None:
    async with site() as one:
        one.manager.serve("v1")
        await one.wait("READY")
        before = time.monotonic_ns() // 1000
        one.service.reload("sighup")
        begun = await one.wait("RELOADING")
        assert begun["RELOADING"] == "1"
        assert before <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert begun["STATUS"] == "reloading; serving m v1"
        await one.wait("EXTEND_TIMEOUT_USEC", 2)
        assert one.manager.reloads == ["sighup"]
        assert len(one.there.having("READY")) == 1
        one.manager.serve("v2")
        one.manager.passes[0].set_result(None)
        assert await one.wait("READY", 2) == {"READY": "1", "STATUS": "serving m v2"}
        assert one.service.phase is Phase.READY


async def test_ready_is_said_after_the_last_of_several_reloads() -> None:
    async with site() as one:
        one.manager.serve("v1")
        await one.wait("READY")
        for number in (1, 2):
            one.service.reload("sighup")
            await one.wait("RELOADING", number)
        await until(lambda: len(one.manager.passes) == 2)
        first, second = one.manager.passes
        first.set_result(None)
        one.manager.serve("v2")
        await one.wait_status("reloading; serving m v2")
        assert len(one.there.having("READY")) == 1
        second.set_exception(NotReady("the look broke off"))
        await one.wait("READY", 2)


async def test_a_refused_version_is_in_the_status_until_a_newer_one_serves() -> None:
    async with site() as one:
        one.manager.serve("v1")
        await one.wait("READY")
        record = VersionRecord("m", "v2", "v2@x")
        record.move(VersionState.FAILED, "load: the file\nends early")
        one.manager.models["m"].last_failure = record
        await one.wait_status("serving m v1; refused m v2: load: the file ends early")
        one.manager.serve("v3")
        await one.wait_status("serving m v3")


async def test_a_reload_before_it_is_ready_says_nothing() -> None:
    async with site() as one:
        await one.wait("STATUS")
        one.service.reload("sighup")
        assert one.manager.reloads == ["sighup"]
        assert one.there.having("RELOADING") == []


async def test_a_stop_is_told_and_ready_is_not_said_any_more() -> None:
    async with site() as one:
        one.manager.serve("v1")
        await one.wait("READY")
        one.service.reload("sighup")
        await one.wait("RELOADING")
        one.service.stopping(7.5)
        stop = await one.wait("STOPPING")
        assert stop == {
            "STOPPING": "1", "EXTEND_TIMEOUT_USEC": "17500000",
            "STATUS": "stopping; serving m v1",
        }  # fmt: skip
        await until(lambda: one.manager.passes)
        one.manager.passes[0].set_result(None)
        one.service.reload("sighup")
        one.manager.serve("v2")
        await one.wait_status("stopping; serving m v2")
        assert len(one.there.having("READY")) == 1
        assert len(one.there.having("RELOADING")) == 1


async def test_a_stop_while_it_starts_never_says_ready() -> None:
    async with site() as one:
        await one.wait("STATUS")
        one.service.stopping(0)
        one.manager.serve("v1")
        await one.wait_status("stopping; serving m v1")
        assert one.there.having("READY") == []


async def test_the_watchdog_is_fed_twice_in_its_time_but_not_while_a_worker_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    started = time.monotonic()
    async with site(watchdog_s=0.4) as one:
        await one.wait("WATCHDOG", 4)
        assert time.monotonic() - started > 0.55
        one.late.append("3 (pid 4711)")
        count = len(one.there.having("WATCHDOG"))
        asked = one.asked
        await until(lambda: one.asked > asked + 20)
        assert len(one.there.having("WATCHDOG")) == count
        one.late.clear()
        await one.wait("WATCHDOG", count + 1)


async def test_without_systemd_a_reload_is_a_reload_and_nothing_else() -> None:
    manager = Manager()
    service = Service(Handover(), manager, list)
    service.start()
    service.reload("sighup")
    assert (manager.reloads, manager.passes) == (["sighup"], [])
    service.stopping(1)
    service.close()
