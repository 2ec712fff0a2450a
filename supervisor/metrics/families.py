"""All families of metrics, in the order in which `/metrics` writes them.

Owns the order; `docs/metrics.md` says for people what each means. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from typing import Final

from supervisor.metrics.family import Family
from supervisor.metrics.lifecycle_families import LIFECYCLE
from supervisor.metrics.machine_families import MACHINE
from supervisor.metrics.traffic_families import TRAFFIC

FAMILIES: Final[tuple[Family, ...]] = (*LIFECYCLE, *TRAFFIC, *MACHINE)
