"""Dependencies run one way: supervisor → gpu_worker.ipc ← gpu_worker; one file imports paddle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted([*ROOT.glob("supervisor/**/*.py"), *ROOT.glob("gpu_worker/**/*.py")])
LAYERS = ("repository", "workers", "dispatch", "lifecycle", "http")


def imports(path: Path) -> Iterator[str]:
    """Give every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_one_file_imports_paddle() -> None:
    importers = [relative(path) for path in FILES
                 if any(name.split(".")[0] == "paddle" for name in imports(path))]  # fmt: skip

    assert importers == ["gpu_worker/predictor.py"]


def test_opentelemetry_is_imported_by_one_file_and_only_when_asked_for() -> None:
    importers = {relative(path) for path in FILES
                 for name in imports(path) if name.startswith("opentelemetry")}  # fmt: skip
    assert importers == {"supervisor/tracing/spans.py"}
    everything = "import supervisor.app, supervisor.front_process.app, sys"
    command = f"{everything}; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_direction(path: Path) -> None:
    where = relative(path)
    for name in imports(path):
        if where.startswith("gpu_worker/"):
            assert not name.startswith("supervisor"), f"{where} imports {name}"
        if where.startswith("gpu_worker/ipc/"):
            top = name.split(".")[0]
            known = top in sys.stdlib_module_names or top == "numpy"
            assert known or name.startswith("gpu_worker.ipc"), f"{where} imports {name}"
        if where.startswith("supervisor/"):
            inside = name.startswith("gpu_worker")
            assert not inside or name.startswith("gpu_worker.ipc"), f"{where} imports {name}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/express/*.pyx")), ids=relative)
def test_size_and_docstring_of_compiled_code(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert text.splitlines()[1].startswith('"""')


@pytest.mark.parametrize("path", sorted(ROOT.glob("gpu_worker/**/*.p[yx][xd]")), ids=relative)
def test_direction_of_compiled_code(path: Path) -> None:
    assert "supervisor" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_size_and_docstring(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


def test_nothing_pickles_or_names_shared_memory() -> None:
    for path in FILES:
        for name in imports(path):
            assert name.split(".")[0] not in ("pickle", "shelve", "marshal"), relative(path)
            assert name != "multiprocessing.shared_memory", relative(path)
