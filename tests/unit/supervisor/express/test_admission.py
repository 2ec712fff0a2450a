"""Tokens that change: what compiled code has learnt of a head lets nobody in who may not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from supervisor.settings import Settings
from tests.unit.supervisor.express.both_ways import both_ways, exchanged
from tests.unit.supervisor.express.ring_site import COMPILED, RingSite, ring_site
from tests.unit.supervisor.http.client import ask, numbers
from tests.unit.supervisor.http.loops import on_both_loops

pytestmark = COMPILED
X = numbers(3)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "inference"
    file.touch(0o600)
    file.write_text("old-token\n")
    return Settings(inference_token_file=str(file))


async def change_token(one: RingSite, settings: Settings) -> None:
    await asyncio.to_thread(Path(settings.inference_token_file).write_text, "new-token\n")
    await one.front.guard.reread()


def with_token(token: str) -> bytes:
    return ask(X, f"Authorization: Bearer {token}")


@on_both_loops
async def test_a_token_that_holds_no_more_is_refused_whatever_was_learnt(
    settings: Settings,
) -> None:
    async with ring_site(settings=settings) as one:
        one.serve_rings()
        client, other = await one.client(), await one.client()
        for _ in range(3):
            assert (await client.ask(with_token("old-token"))).status == 200
        assert (await other.ask(with_token("old-token"))).status == 200
        assert one.express == 3
        await change_token(one, settings)
        for asks in (other, client):
            assert (await asks.ask(with_token("old-token"))).status == 403
        assert one.express == 3
        third = await one.client()
        for _ in range(3):
            assert (await third.ask(with_token("new-token"))).status == 200
        assert one.express == 5


@on_both_loops
async def test_a_token_that_changes_while_a_body_comes_is_refused_afterwards(
    settings: Settings,
) -> None:
    async with ring_site(settings=settings) as one:
        one.serve_rings()
        client, other = await one.client(), await one.client()
        await client.ask(with_token("old-token"))
        request = with_token("old-token")
        await client.send(request[:-1])
        await change_token(one, settings)
        await client.send(request[-1:])
        assert (await client.answer()).status == 200, "it was admitted before"
        for asks in (client, other):
            assert (await asks.ask(request)).status == 403
        assert one.express == 0


@on_both_loops
async def test_without_the_right_token_nothing_is_learnt(settings: Settings) -> None:
    async def talk(one: RingSite) -> list[bytes]:
        one.serve_rings()
        client = await one.client()
        tokens = ["wrong", "wrong", "old-token", "wrong", "old-token"]
        found = [await exchanged(client, with_token(token)) for token in tokens]
        assert one.express == 0
        return found

    found = await both_ways(talk, settings=settings)
    assert [answer.split()[1] for answer in found] == [b"403", b"403", b"200", b"403", b"200"]
