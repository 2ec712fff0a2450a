"""Property tests here share their machine with others: a slow example is no failure."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "unit",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unit")
