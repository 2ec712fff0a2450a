"""Placement: what may be written, and which cores follow."""

from __future__ import annotations

import pytest

from supervisor.errors import SettingsError
from supervisor.workers.placement import (
    Cores,
    parse_cpus,
    place_supervisor,
    place_workers,
    write_cpus,
)

LOW, HIGH = frozenset(range(8)), frozenset(range(8, 16))
TWO_NODES = Cores(LOW | HIGH, {0: LOW, 1: HIGH}, {0: 1, 1: 0})
HALF_ALLOWED = Cores(frozenset({2, 3}), {0: LOW, 1: HIGH}, {0: 1})
NO_NODES = Cores(frozenset({0, 1}), {}, {})


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", {0}),
        ("0-3", {0, 1, 2, 3}),
        (" 0-1 , 4,6-7", {0, 1, 4, 6, 7}),
        ("3-3,3", {3}),
    ],
)
def test_lists_that_are_read(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus
    assert parse_cpus(write_cpus(cpus)) == cpus


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "-1", "1-", "0x1", "1 2", "²", "123456"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"core|ends before it begins"):
        parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "devices", "cores", "chosen"),
    [
        ("", ["cpu", "gpu:0"], TWO_NODES, [LOW | HIGH, LOW | HIGH]),
        ("", ["cpu"], HALF_ALLOWED, [{2, 3}]),
        ("0-7;8-15", ["cpu", "cpu"], TWO_NODES, [LOW, HIGH]),
        ("0-1", ["cpu", "cpu"], TWO_NODES, [{0, 1}, {0, 1}]),
        ("2", ["cpu"], HALF_ALLOWED, [{2}]),
        ("numa", ["gpu:0", "gpu:1"], TWO_NODES, [HIGH, LOW]),
        ("numa", ["gpu:1"], TWO_NODES, [LOW]),
        ("numa", ["cpu", "gpu:0", "cpu", "cpu"], TWO_NODES, [LOW, HIGH, HIGH, LOW]),
        ("numa", ["cpu", "cpu"], HALF_ALLOWED, [{2, 3}, {2, 3}]),  # the other node is not ours
    ],
)
def test_cores_of_each_devices_workers(
    text: str, devices: list[str], cores: Cores, chosen: list[set[int]]
) -> None:
    assert place_workers(text, devices, cores) == chosen


@pytest.mark.parametrize(
    ("text", "devices", "cores", "said"),
    [
        ("0-20", ["cpu"], TWO_NODES, "the cores 16-20 are not to be had; .* the cores 0-15"),
        ("0-7", ["cpu"], HALF_ALLOWED, "the cores 0-1,4-7 are not to be had; .* the cores 2-3"),
        ("0-7;8-15", ["cpu"], TWO_NODES, r"has 2 sets of cores for 1 device\(s\)"),
        ("0;1", ["cpu"] * 3, TWO_NODES, r"has 2 sets of cores for 3 device\(s\)"),
        ("0;", ["cpu", "cpu"], TWO_NODES, "'' is no core .* or numa; .* the cores 0-15"),
        ("Numa", ["cpu"], TWO_NODES, "'Numa' is no core .* or numa; .* the cores 0-15"),
        ("numa", ["gpu:2"], TWO_NODES, "of gpu:2 is not known; .*node 0: 0-7; node 1: 8-15"),
        ("numa", ["gpu:0"], HALF_ALLOWED, r"of gpu:0 \(1\) has no core .*node 0: 2-3"),
        ("numa", ["gpu:0"], NO_NODES, "of gpu:0 is not known; .*cores 0-1"),
        ("numa", ["cpu"], NO_NODES, "no NUMA node"),
    ],
)
def test_wrong_sets_are_refused_with_the_cores_that_there_are(
    text: str, devices: list[str], cores: Cores, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        place_workers(text, devices, cores)
    assert str(caught.value).startswith(f"worker_cpus = {text!r}: ")


def test_the_supervisor_stays_where_it_is_unless_it_is_told() -> None:
    assert place_supervisor("", TWO_NODES) is None
    assert place_supervisor("0,8", TWO_NODES) == frozenset({0, 8})
    with pytest.raises(SettingsError, match=r"supervisor_cpus = '99': the cores 99 are not to be"):
        place_supervisor("99", TWO_NODES)
    with pytest.raises(SettingsError, match=r"must be a list such as 0-7,16; this process may"):
        place_supervisor("numa", TWO_NODES)
