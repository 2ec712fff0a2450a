"""Opening: the spans, where the settings and the installation have them.

Owns what is said where they cannot be had. Runs in every front, once at start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.errors import SettingsError

if TYPE_CHECKING:
    from supervisor.tracing.spans import Spans


def open_spans(endpoint: str, scheme: str) -> Spans | None:
    """Have sampled requests told to a collector of traces; None for the endpoint "".

    Raises:
        SettingsError: the extra that it takes is not installed, or refuses a variable.

    """
    if not endpoint:
        return None
    try:
        from supervisor.tracing.spans import Spans  # noqa: PLC0415 - an extra

        return Spans.to(endpoint, scheme)
    except ImportError as error:
        raise SettingsError(
            f"trace_endpoint = {endpoint!r}: OpenTelemetry is missing ({error}): "
            "pip install 'hotpaddle[otel]'"
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"trace_endpoint = {endpoint!r}: OpenTelemetry's environment (OTEL_*): {error}"
        ) from error
