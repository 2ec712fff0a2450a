"""Reloads under load: no error, no step back, every version its own answers, nothing that grows."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import Models
from tests.expected import mlp_outputs
from tests.harness import Repository, Server, wait_for
from tests.load import Load

Serve = Callable[..., Server]


@pytest.mark.soak
def test_load_with_a_version_every_two_seconds(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(number) for number in (1, 2, 3)]
    outputs = [mlp_outputs(folder) for folder in folders]
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository).wait_ready()
    expected = {f"v{number}": outputs[number % 3] for number in range(40)}
    with Load(server.port, expected) as load:
        ends = time.monotonic() + 18
        number = 0
        while time.monotonic() < ends:
            number += 1
            began = time.monotonic()
            repository.publish("mlp", f"v{number}", folders[number % 3])
            server.wait_serving("mlp", f"v{number}")
            load.wait_answers(1)
            wait_for(passed(began + 2), "two seconds")
        load.wait_answers(20)
    load.seen.assert_clean()
    assert number >= 6
    assert len(load.seen.versions) == number + 1
    print(f"{load.seen.answers} answers, {number} reloads, versions {dict(load.seen.versions)}")


@pytest.mark.soak
def test_a_hundred_reloads_leave_nothing_behind(
    serve: Serve, repository: Repository, models: Models
) -> None:
    """Memory flat (its slope is printed), descriptors and processes constant."""
    folders = [models.mlp(number) for number in (1, 2)]
    outputs = [mlp_outputs(folder) for folder in folders]
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository).wait_ready()
    expected = {f"v{number}": outputs[number % 2] for number in range(101)}
    samples: list[tuple[int, float, float]] = []
    counts: set[tuple[int, int]] = set()
    with Load(server.port, expected, concurrency=4, pause_s=0.002) as load:
        for number in range(1, 101):
            repository.publish("mlp", f"v{number}", folders[number % 2])
            server.wait_serving("mlp", f"v{number}")
            if number % 5 == 0:
                wait_for(lambda: server.admin("mlp")["retained"]["state"] == "RETAINED", "drained")
                children = server.children()
                workers = sum(child.memory_info().rss for child in children) / 1e6
                samples.append((number, server.psutil.memory_info().rss / 1e6, workers))
                if number >= 20:
                    counts.add((len(children), server.descriptors()))
    load.seen.assert_clean()
    supervisor, workers = slope(samples, 1), slope(samples, 2)
    print(f"supervisor {supervisor:+.3f} MB, workers {workers:+.3f} MB per reload; {samples}")
    assert len({processes for processes, _ in counts}) == 1, counts
    descriptors = [descriptors for _, descriptors in counts]
    assert max(descriptors) - min(descriptors) <= 8, counts  # connections of the samples
    assert supervisor < 0.05
    assert workers < 0.25


def passed(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() >= moment


def slope(samples: list[tuple[int, float, float]], column: int) -> float:
    """Give the least-squares slope of the second half, in MB per reload."""
    half = samples[len(samples) // 2 :]
    xs, ys = [sample[0] for sample in half], [sample[column] for sample in half]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


def test_a_switch_changes_all_instances_on_all_devices_at_once(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(number) for number in (1, 2)]
    expected = {f"v{number}": mlp_outputs(folders[number % 2]) for number in range(6)}
    repository.settings("mlp", "instances = 2\n")
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository, "--device", "cpu,cpu").wait_ready()
    with Load(server.port, expected) as load:
        for number in range(1, 6):
            repository.publish("mlp", f"v{number}", folders[number % 2])
            state = server.wait_serving("mlp", f"v{number}")
            assert len(state["serving"]["workers"]) == 4
            load.wait_answers(20)
    load.seen.assert_clean()
    assert len(server.workers()) == 8


def test_the_newest_of_many_wishes_wins(
    serve: Serve, repository: Repository, models: Models
) -> None:
    folders = [models.mlp(number) for number in (1, 2)]
    expected = {f"v{number}": mlp_outputs(folders[number % 2]) for number in range(31)}
    repository.publish("mlp", "v0", folders[0])
    server = serve(repository).wait_ready()
    with Load(server.port, expected) as load:
        for number in range(1, 31):
            repository.publish("mlp", f"v{number}", folders[number % 2])
        server.wait_serving("mlp", "v30")
        load.wait_answers(20)
    load.seen.assert_clean()
    assert server.admin("mlp")["generation"] < 31
