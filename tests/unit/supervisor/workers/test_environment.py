"""The environment of workers: what glibc is told, and what the operator has said himself."""

from __future__ import annotations

from supervisor.workers.environment import worker_environment

OURS = {"PATH": "/bin", "HOTPADDLE_PORT": "1"}
TUNED = {
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES",
    "FLAGS_eager_delete_tensor_gb",
}  # fmt: skip


def test_tuned_workers_keep_large_buffers_in_huge_pages() -> None:
    found = worker_environment("tuned", OURS)
    assert found.keys() - OURS.keys() == TUNED
    assert OURS.items() <= found.items()
    assert int(found["MALLOC_MMAP_THRESHOLD_"]) == 1 << 30
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) == 1 << 32
    assert found["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert 0 < float(found["FLAGS_eager_delete_tensor_gb"]) < 0.001


def test_what_the_operator_has_set_stays() -> None:
    ours = {
        **OURS, "GLIBC_TUNABLES": "glibc.malloc.arena_max=1", "MALLOC_TRIM_THRESHOLD_": "0",
        "FLAGS_eager_delete_tensor_gb": "0",
    }  # fmt: skip
    found = worker_environment("tuned", ours)
    assert ours.items() <= found.items()
    assert found.keys() - ours.keys() == {"MALLOC_MMAP_THRESHOLD_"}


def test_the_system_s_way_changes_nothing_and_the_caller_keeps_his_mapping() -> None:
    found = worker_environment("system", OURS)
    assert found == OURS
    for malloc in ("system", "tuned"):
        worker_environment(malloc, OURS)["X"] = "y"
    assert OURS == {"PATH": "/bin", "HOTPADDLE_PORT": "1"}
