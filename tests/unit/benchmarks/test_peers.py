"""Other servers: how they are asked, what is done where one is missing or answers wrongly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import triton_peer
from benchmarks.bare import Bare, BareResult
from benchmarks.errors import BenchError
from benchmarks.http_server import Answer, HttpServer, free_port
from benchmarks.models import MODELS, BenchModel, Floats
from benchmarks.mosec_peer import MosecPeer
from benchmarks.options import PEERS as NAMES
from benchmarks.options import parse_options
from benchmarks.peer import PeerDeployment, deploy_peer
from benchmarks.peers import PEERS, peer_rows, usable_peers
from benchmarks.process_cost import role_of
from benchmarks.triton_peer import TritonPeer, model_config
from benchmarks.wire import Request

MLP = MODELS["mlp"]
EXPECTED = np.array([1, 2, 3, 4], np.float32)
BARE = Bare({1: BareResult(1, 10, 1000.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)}, [EXPECTED])
ECHO = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = bytes.fromhex(sys.argv[2])
        self.send_response(int(sys.argv[3]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
print("here it begins", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class EchoPeer(MosecPeer):
    """A server that gives every request the same answer."""

    def __init__(self, values: Floats = EXPECTED, program: str = ECHO) -> None:
        self.body = values.tobytes().hex()
        self.program = program

    def missing(self) -> str:
        return ""

    def start(
        self, model: BenchModel, export: Path, folder: Path, max_batch_size: int
    ) -> HttpServer:
        port = free_port()
        command = [sys.executable, "-c", self.program, str(port), self.body, "200"]
        return HttpServer(self.name, command, port, folder / "server.log")


def test_every_name_has_a_peer() -> None:
    assert tuple(PEERS) == NAMES


def test_a_peer_that_is_not_installed_is_left_out_with_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mosec", None)
    monkeypatch.setattr(triton_peer, "_ROOT", tmp_path / "nothing")
    notes: list[str] = []

    assert usable_peers(parse_options([]), notes.append) == []
    assert [note.partition(":")[0] for note in notes] == [
        "mosec is left out", "Triton, Python backend is left out",
    ]  # fmt: skip


def test_a_wheel_without_this_python_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(triton_peer, "_ROOT", tmp_path)
    monkeypatch.setattr(triton_peer, "_STUBS", tmp_path / "stubs")

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert TritonPeer().missing() == f"its wheel has nothing for Python {version}"


def test_settings_of_an_installed_peer_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "mosec", EchoPeer())
    notes: list[str] = []

    assert usable_peers(parse_options(["--peers", "mosec"]), notes.append) == [PEERS["mosec"]]
    assert "max_wait_time is 1 ms" in notes[0]


def test_mosec_is_sent_bytes_and_nothing_else() -> None:
    request = MosecPeer().request(MLP)

    assert request.body == MLP.sample().tobytes()
    assert MosecPeer().values(Answer(200, {}, EXPECTED.tobytes())).tolist() == [1, 2, 3, 4]


def test_triton_is_sent_what_hotpaddle_is_sent() -> None:
    assert TritonPeer().request(MLP).path == "/v2/models/mlp/infer"


def test_triton_batches_only_where_it_shall() -> None:
    plain, batched = (model_config(MLP, Path("/export"), size) for size in (1, 8))

    assert "dynamic_batching" not in plain
    assert "dynamic_batching" in batched
    assert "max_batch_size: 8" in batched
    assert "dims: [16]" in batched


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["/venv/bin/mosec", "/tmp/config.json"], "front"),
        ([sys.executable, "-c", "from multiprocessing.spawn ...", "--multiprocessing-fork"],
         "worker"),
        (["/backends/python/triton_python_backend_stub", "/models"], "worker"),
        ([sys.executable, "-m", "gpu_worker"], "worker"),
        (["/bin/sh"], "other"),
        ([], "other"),
    ],
)  # fmt: skip
def test_roles(command: list[str], role: str) -> None:
    assert role_of(command) == role


def test_rows_of_a_peer_without_batching_and_with_it(tmp_path: Path) -> None:
    options = parse_options(["--concurrency", "2", "--seconds", "1", "--own-generator"])
    notes: list[str] = []
    rows = list(peer_rows(EchoPeer(), MLP, BARE, tmp_path, tmp_path, options, notes.append))

    assert [(row.label, row.concurrency, row.errors) for row in rows] == [
        ("mosec", 2, 0), ("mosec, batching 8", 2, 0),
    ]  # fmt: skip
    assert all(row.ratio == row.requests_s / 1000 > 0 for row in rows)
    assert notes == []
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_ends_is_left_out_with_its_last_words(tmp_path: Path) -> None:
    options = parse_options(["--batch-size", "0"])
    notes: list[str] = []
    peer = EchoPeer(program="raise SystemExit('no such thing')")

    assert not list(peer_rows(peer, MLP, BARE, tmp_path, tmp_path, options, notes.append))
    assert len(notes) == 1
    assert "no such thing" in notes[0]


def test_a_wrong_answer_is_not_measured(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match="not the bare predictor's answer: differs"),
        deploy_peer(EchoPeer(EXPECTED * 2), MLP, BARE, tmp_path, tmp_path, 1),
    ):
        pass


def test_an_error_is_not_ready(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", ECHO, str(port), "00", "503"]
    with HttpServer("echo", command, port, tmp_path / "log") as server:
        deployment = PeerDeployment(EchoPeer(), MLP, BARE, server, tmp_path)
        server.wait(lambda: server.send("POST", "/", b"", {}), "it answers")

        assert not deployment.ready()


def test_a_server_that_heeds_no_signal_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.http_server._STOP_S", 0.1)
    program = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
{ECHO}"""
    port = free_port()
    command = [sys.executable, "-c", program, str(port), "00", "200"]
    with HttpServer("echo", command, port, tmp_path / "log") as server:
        server.wait(lambda: server.send("POST", "/", b"", {}), "it answers")
        processes = [psutil.Process(pid) for pid in server.tree.processes()]

    assert len(processes) == 2
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


def test_a_request_of_a_peer_is_its_own(tmp_path: Path) -> None:
    with deploy_peer(EchoPeer(), MLP, BARE, tmp_path, tmp_path, 1) as deployment:
        assert deployment.request("binary") == Request(
            "/inference", {"Content-Type": "application/octet-stream"}, MLP.sample().tobytes()
        )
        assert deployment.expected == []
