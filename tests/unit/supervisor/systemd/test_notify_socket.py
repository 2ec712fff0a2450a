"""The notify socket: real datagrams, in order, and nothing that could stop the server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from supervisor.systemd.notify_socket import NotifySocket
from tests.unit.supervisor.systemd.receiver import receiver


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_arrives(abstract: bool) -> None:
    with receiver(abstract=abstract) as there:
        notify = NotifySocket(there.address)
        assert notify.send(["READY=1", "STATUS=serving mlp v1 - größer \ud800"])
        assert there.messages() == [{"READY": "1", "STATUS": "serving mlp v1 - größer ?"}]
        notify.close()


def test_nobody_is_told_where_nobody_listens() -> None:
    notify = NotifySocket("")
    assert notify.send(["READY=1"])
    notify.close()


def test_a_service_manager_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "nobody"))
    assert notify.send(["READY=1"])
    assert notify.send(["STATUS=x"])
    notify.close()


def test_what_cannot_go_out_now_goes_out_later_and_in_order() -> None:
    with receiver() as there:
        notify = NotifySocket(there.address)
        limit = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        sent = 0
        while notify.send([f"NUMBER={sent}"]):
            sent += 1
            assert sent < 10 * limit + 1000, "a socket that nobody reads takes any number"
        notify.send(["READY=1"])
        first = len(there.messages())
        assert first == sent
        assert notify.flush()
        found = there.messages()
        assert [m["NUMBER"] for m in found[:-1]] == [str(number) for number in range(sent + 1)]
        assert found[-1] == {"READY": "1"}
        notify.close()


def test_its_descriptor_is_not_inherited() -> None:
    notify = NotifySocket("/nowhere")
    held = notify._socket  # noqa: SLF001 - nothing else shows it
    assert isinstance(held, socket.socket)
    assert not held.get_inheritable()
    notify.close()
