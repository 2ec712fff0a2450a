"""Hotpaddle's worker: a blocking, single-threaded process that holds one model version.

Knows nothing of HTTP nor of the supervisor; they meet in `gpu_worker.ipc`.
"""
