"""The layout: what a scan finds in real directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.repository.layout import VersionListing, scan, scan_model
from supervisor.repository.version_pointer import VersionPointer


def fill(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_bytes(b"x")
    return directory


def version(directory: Path) -> Path:
    return fill(directory, "m.json", "m.pdiparams")


def only_version(model: Path) -> VersionListing:
    (listing,) = scan_model(model).versions.values()
    return listing


def test_an_empty_repository_has_no_models(tmp_path: Path) -> None:
    listing = scan(tmp_path)
    assert (listing.models, listing.directories, listing.problem) == ({}, (tmp_path,), "")


def test_a_repository_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    listing = scan(tmp_path / "none")
    assert listing.problem == (
        f"model repository {tmp_path}/none cannot be read: No such file or directory"
    )


def test_models_are_directories_with_safe_names(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "_x", "with blank", "v" * 129):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "nowhere").symlink_to("gone")
    assert list(scan(tmp_path).models) == ["a", "b"]


def test_a_link_in_a_circle_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    version(tmp_path / "a/v1")
    (tmp_path / "a/circle").symlink_to("circle")
    listing = scan(tmp_path)
    assert listing.problem == ""
    assert list(listing.models) == ["a"]
    assert list(listing.models["a"].versions) == ["v1"]


def test_a_name_that_is_not_utf8_does_not_break_the_scan(tmp_path: Path) -> None:
    listing_before = only_version(version(tmp_path / "v1").parent)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/v1/\xff.pdiparams")).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).mkdir()
    listing = only_version(tmp_path)
    assert (listing.params, listing.problem) == ("m.pdiparams", "")
    assert listing.fingerprint != listing_before.fingerprint


def test_without_pointer_all_versions_are_listed_newest_last(tmp_path: Path) -> None:
    for name in ("v10", "v9", "v2"):
        version(tmp_path / name)
    fill(tmp_path, "README.md")
    listing = scan_model(tmp_path)
    assert list(listing.versions) == ["v2", "v9", "v10"]
    assert (listing.pointer, listing.flat, listing.problem) == (None, None, "")


def test_hidden_and_unsafe_directories_are_no_versions(tmp_path: Path) -> None:
    for name in (".v9", "_v9", "v1", "v 2"):
        version(tmp_path / name)
    assert list(scan_model(tmp_path).versions) == ["v1"]


def test_with_a_pointer_only_its_version_is_listed(tmp_path: Path) -> None:
    for name in ("v1", "v2", "v3"):
        version(tmp_path / "a" / name)
    (tmp_path / "a/model_version.txt").write_text("v2\n")
    listing = scan(tmp_path)
    assert listing.models["a"].pointer == VersionPointer("v2")
    assert list(listing.models["a"].versions) == ["v2"]
    assert listing.directories == (tmp_path, tmp_path / "a", tmp_path / "a/v2")


def test_a_pointer_to_nothing_lists_nothing_and_never_the_flat_files(tmp_path: Path) -> None:
    version(tmp_path)
    (tmp_path / "model_version.txt").write_text("v2")
    listing = scan_model(tmp_path)
    assert (listing.pointer, listing.versions, listing.flat) == (VersionPointer("v2"), {}, None)


def test_a_flat_model_is_listed_without_a_version_name(tmp_path: Path) -> None:
    fill(tmp_path, "m.pdmodel", "m.pdiparams", "model.toml")
    flat = scan_model(tmp_path).flat
    assert flat is not None
    assert (flat.name, flat.path, flat.program) == ("", tmp_path, "m.pdmodel")
    assert flat.settings_path == tmp_path / "model.toml"


def test_version_directories_go_before_flat_files(tmp_path: Path) -> None:
    version(version(tmp_path) / "v1")
    listing = scan_model(tmp_path)
    assert listing.flat is None
    assert list(listing.versions) == ["v1"]


def test_a_hidden_parameter_file_makes_no_flat_model(tmp_path: Path) -> None:
    fill(tmp_path, ".m.pdiparams")
    assert scan_model(tmp_path).flat is None


@pytest.mark.parametrize(
    ("names", "program", "problem"),
    [
        (["m.json", "m.pdiparams"], "m.json", ""),
        (["m.pdmodel", "m.pdiparams"], "m.pdmodel", ""),
        (["m.json", "m.pdmodel", "m.pdiparams"], "m.json", ""),
        (["manifest.json", "m.pdmodel", "m.pdiparams"], "m.pdmodel", ""),
        (["m.json", "m.pdiparams", ".n.pdiparams", "n.json"], "m.json", ""),
        ([], "", "holds no *.pdiparams file"),
        (["m.json"], "", "holds no *.pdiparams file"),
        (["m.pdiparams"], "", "holds m.pdiparams but neither m.json nor m.pdmodel"),
        (["m.pdiparams", "n.json"], "", "holds m.pdiparams but neither m.json nor m.pdmodel"),
        (
            ["m.pdiparams", "manifest.json"],
            "",
            "holds m.pdiparams but neither m.json nor m.pdmodel",
        ),
        (
            ["m.json", "b.pdiparams", "a.pdiparams"],
            "",
            "holds several parameter files: a.pdiparams, b.pdiparams; keep one",
        ),
    ],
)
def test_program_and_parameters_share_their_stem(
    tmp_path: Path, names: list[str], program: str, problem: str
) -> None:
    fill(tmp_path / "v1", *names)
    listing = only_version(tmp_path)
    assert (listing.program, listing.problem) == (program, problem)
    assert listing.params == ("m.pdiparams" if program else "")
    assert listing.has_manifest == ("manifest.json" in names)


def test_a_directory_is_no_model_file(tmp_path: Path) -> None:
    (version(tmp_path / "v1") / "m.json").unlink()
    (tmp_path / "v1/m.json").mkdir()
    assert "neither m.json" in only_version(tmp_path).problem


def test_links_to_versions_and_files_are_followed(tmp_path: Path) -> None:
    target = version(tmp_path / "elsewhere")
    model = tmp_path / "model"
    (model / "v1").mkdir(parents=True)
    for name in ("m.json", "m.pdiparams"):
        (model / "v1" / name).symlink_to(target / name)
    (model / "v2").symlink_to(target)
    (model / "v3").symlink_to("gone")
    listing = scan_model(model)
    assert {name: one.program for name, one in listing.versions.items()} == {
        "v1": "m.json", "v2": "m.json",
    }  # fmt: skip


def test_a_versions_own_settings_go_before_the_models(tmp_path: Path) -> None:
    version(tmp_path / "v1")
    assert only_version(tmp_path).settings_path is None
    (tmp_path / "model.toml").write_text("")
    assert only_version(tmp_path).settings_path == tmp_path / "model.toml"
    (tmp_path / "v1/model.toml").write_text("")
    assert only_version(tmp_path).settings_path == tmp_path / "v1/model.toml"


def test_the_newest_change_is_that_of_the_files(tmp_path: Path) -> None:
    version(tmp_path / "v1")
    newest = max((tmp_path / "v1" / name).stat().st_ctime for name in ("m.json", "m.pdiparams"))
    assert only_version(tmp_path).newest_ctime == newest


def test_what_cannot_be_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    version(tmp_path / "a/v1")
    version(tmp_path / "a/v2")
    (tmp_path / "a/v2/circle").symlink_to("circle")
    model = scan(tmp_path).models["a"]
    assert model.versions["v1"].problem == ""
    assert model.versions["v2"].problem.startswith("cannot be read: Too many levels")
    gone = scan_model(tmp_path / "gone")
    assert (gone.name, gone.problem) == ("gone", "cannot be read: No such file or directory")
