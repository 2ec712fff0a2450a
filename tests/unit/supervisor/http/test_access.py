"""Tokens on real connections: both ways ask for them, and forget what they knew."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from supervisor.access.refusals import Refusals
from supervisor.http.answers import answer_json
from supervisor.settings import Settings
from tests.unit.supervisor.http.client import ask, chunked, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops
from tests.unit.supervisor.http.site import Site, site

X = numbers(1)
Y = y_of(X).ravel().tolist()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("admin", "inference"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(f"{name}-token\n")
    return Settings(
        admin_from_loopback=False,
        admin_token_file=str(tmp_path / "admin"),
        inference_token_file=str(tmp_path / "inference"),
    )


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


async def status(request: web.BaseRequest) -> web.StreamResponse:
    del request
    return answer_json({"ready": True})


def with_admin(one: Site) -> None:
    one.http.router.add("GET", "admin/models", status)


@on_both_loops
async def test_an_inference_with_its_token_is_fast(settings: Settings) -> None:
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client()
        for token in ("inference-token", "admin-token"):
            for _ in range(2):
                assert (await client.ask(ask(X, bearer(token)))).y == Y
        assert one.slow_paths == 0


@on_both_loops
@pytest.mark.parametrize("form", [lambda request: request, chunked], ids=["plain", "chunked"])
async def test_an_inference_without_its_token_is_refused(settings: Settings, form: object) -> None:
    assert callable(form)
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client()
        for _ in range(2):  # the second head is known
            found = await client.ask(form(ask(X)))
            assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
            assert "inference_token_file" in found.error
            found = await client.ask(form(ask(X, bearer("else"))))
            assert found.status == 403
            assert "www-authenticate" not in found.headers
        assert (await client.ask(form(ask(X, bearer("inference-token"))))).y == Y
        assert one.front.refusals == Refusals(no_token=2, wrong_token=2)
        assert one.bench.lent == 0


@on_both_loops
async def test_health_needs_no_token_and_metadata_does(settings: Settings) -> None:
    async with site(settings=settings) as one:
        client = await one.client()
        assert (await client.ask(http("GET", "/v2/health/live"))).status == 200
        assert (await client.ask(http("GET", "/v2"))).status == 401
        assert (await client.ask(http("GET", "/v2", b"", bearer("inference-token")))).status == 200
        assert (await client.ask(http("GET", "/nothing/here"))).status == 404


@on_both_loops
async def test_operators_calls_need_the_operators_token(settings: Settings) -> None:
    async with site(settings=settings) as one:
        with_admin(one)
        client = await one.client()
        found = await client.ask(http("GET", "/admin/models"))
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
        assert "unix socket (admin_socket)" in found.error
        found = await client.ask(http("GET", "/admin/models", b"", bearer("inference-token")))
        assert (found.status, "the token is for inferences" in found.error) == (403, True)
        found = await client.ask(http("GET", "/admin/models", b"", bearer("nonsense")))
        assert (found.status, "the token is not known here" in found.error) == (403, True)
        found = await client.ask(http("GET", "/admin/models", b"", bearer("admin-token")))
        assert found.status == 200
        assert one.front.refusals == Refusals(no_token=1, wrong_token=2)


@on_both_loops
async def test_a_new_token_file_counts_for_known_heads_and_a_broken_one_for_none(
    settings: Settings,
) -> None:
    write = Path(settings.inference_token_file).write_text
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client()
        old, new = ask(X, bearer("inference-token")), ask(X, bearer("new-token"))
        assert (await client.ask(old)).status == 200
        assert (await client.ask(new)).status == 403
        write("new-token")
        await one.front.guard.reread()
        assert (await client.ask(old)).status == 403
        assert (await client.ask(new)).y == Y
        write("")
        await one.front.guard.reread()
        assert (await client.ask(new)).y == Y


@on_both_loops
async def test_by_default_loopback_may_do_everything() -> None:
    async with site() as one:
        with_admin(one)
        one.serve()
        client = await one.client()
        assert (await client.ask(http("GET", "/admin/models"))).status == 200
        assert (await client.ask(ask(X))).y == Y
