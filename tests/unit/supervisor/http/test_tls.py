"""Connections over TLS: the fast path, and what clients do to it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from supervisor.settings import Settings
from tests.certificates import Authority
from tests.unit.supervisor.http.client import ask, chunked, http, numbers, y_of
from tests.unit.supervisor.http.loops import on_both_loops, until
from tests.unit.supervisor.http.site import answer, site

LIVE = http("GET", "/v2/health/live")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def settings(authority: Authority) -> Settings:
    certificate, key = authority.server()
    return Settings(tls_certificate=str(certificate), tls_key=str(key))


@on_both_loops
async def test_both_ways_on_one_connection(authority: Authority, settings: Settings) -> None:
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client(tls=authority.context())
        for seed in range(3):
            x = numbers(seed, rows=50)
            for request in (ask(x), ask(x, binary=False)):
                assert (await client.ask(request)).y == y_of(x).ravel().tolist()
        assert one.slow_paths == 0
        assert (await client.ask(LIVE)).status == 200
        assert (await client.ask(ask(numbers(1)))).y == y_of(numbers(1)).ravel().tolist()
        assert (await client.ask(chunked(ask(numbers(2))))).y == y_of(numbers(2)).ravel().tolist()
        assert one.slow_paths == 1


@on_both_loops
async def test_pipelined_and_in_pieces(authority: Authority, settings: Settings) -> None:
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client(tls=authority.context())
        requests = [ask(numbers(seed, rows=20)) for seed in range(6)]
        client.writer.write(b"".join(requests))
        for seed in range(6):
            assert (await client.answer()).y == y_of(numbers(seed, rows=20)).ravel().tolist()
        for at in range(1, len(requests[0]), 97):
            await client.send(requests[0][:at])
            await client.send(requests[0][at:])
            assert (await client.answer()).status == 200


@on_both_loops
async def test_who_does_not_read_is_waited_for(authority: Authority, settings: Settings) -> None:
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client(receive_bytes=4096, tls=authority.context())
        x = numbers(1, rows=800)
        client.writer.write(ask(x) * 1500)
        await until(lambda: client.its.pauses)
        for _ in range(1500):
            assert (await client.answer()).y == y_of(x).ravel().tolist()


@on_both_loops
async def test_who_goes_leaves_no_slot(authority: Authority, settings: Settings) -> None:
    async with site(settings=settings) as one:
        worker = one.serve(prompt=False)
        waits, sends = [await one.client(tls=authority.context()) for _ in range(2)]
        await waits.send(ask(numbers(1)))
        await until(lambda: worker.in_flight)
        await sends.send(ask(numbers(2))[:-1])
        for client in (waits, sends):
            client.leave()
        await until(lambda: not one.front.connections)
        answer(one.bench, worker)
        await one.at_rest()


@on_both_loops
async def test_a_stop_ends_connections(authority: Authority, settings: Settings) -> None:
    async with site(settings=settings) as one:
        one.serve()
        client = await one.client(tls=authority.context())
        assert (await client.ask(ask(numbers(1)))).status == 200
        await one.front.stop(5)
        assert await client.ended() == b""


def test_files_that_are_none(authority: Authority, tmp_path: Path) -> None:
    """Broken files are refused with the setting's name; the context stays what it was."""
    from supervisor.access.tls import Certificates
    from supervisor.errors import SettingsError

    certificate, key = authority.server("first")
    _, other_key = authority.server("second")
    made = Certificates(Settings(tls_certificate=str(certificate), tls_key=str(key)))
    first = made.context
    assert first is not None
    assert first.minimum_version is ssl.TLSVersion.TLSv1_2
    made.read()
    assert made.context is first, "nothing has changed"
    right = key.read_bytes()
    for wrong in (b"", b"nonsense", other_key.read_bytes()):
        key.write_bytes(wrong)
        with pytest.raises(SettingsError, match="are no PEM certificate and its unencrypted key"):
            made.read()
        assert made.context is first
    key.unlink()
    with pytest.raises(SettingsError, match=r"tls_key = .*: cannot be read: No such file"):
        made.read()
    key.write_bytes(right)
    made.read()
    assert made.context is first
    ca = tmp_path / "ca.pem"
    ca.write_text("nonsense")
    with pytest.raises(SettingsError, match=r"tls_client_ca = .*: holds no PEM certificates"):
        Certificates(
            Settings(tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ca))
        )
