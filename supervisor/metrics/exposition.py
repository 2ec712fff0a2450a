"""The exposition: a reading, written as Prometheus or OpenMetrics text.

Owns how much is written in one step of the event loop: writing a thousand series takes as long as a
hundred requests, which must not wait for it. The format itself is prometheus_client's. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from supervisor.metrics.families import FAMILIES
from supervisor.metrics.family import Family
from supervisor.metrics.histogram import Histogram
from supervisor.metrics.reading import Reading

_STEP_S: Final = 0.0005
_PAUSE_S: Final = 0.001  # a request needs several turns; it shall wait for one step at most
_PIECE: Final = 40  # samples, some 0.2 to 0.4 ms of work
_KINDS: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_END: Final = b"# EOF\n"  # of OpenMetrics


class _Piece(Collector):
    """A collector of some samples of one family."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        yield self._metric


async def expose(reading: Reading, accept: str) -> tuple[bytes, str]:
    """Write a reading in the form that an `Accept` header asks for; gives its content type, too."""
    encode, content_type = choose_encoder(accept)
    text = bytearray()
    began = time.perf_counter()
    for family in FAMILIES:
        for number, metric in enumerate(_pieces(family, reading)):
            text += _lines(encode, metric, headed=number == 0)
            if time.perf_counter() - began > _STEP_S:
                await asyncio.sleep(_PAUSE_S)
                began = time.perf_counter()
    if content_type.startswith("application/openmetrics-text"):
        text += _END
    return bytes(text), content_type


def _lines(encode: Callable[[Collector], bytes], metric: Metric, *, headed: bool) -> bytes:
    """Write samples, with the lines that tell of their family only where it begins."""
    text = encode(_Piece(metric)).removesuffix(_END)
    while not headed and text.startswith(b"# "):
        text = text[text.index(b"\n") + 1 :]
    return text


def _pieces(family: Family, reading: Reading) -> Iterator[Metric]:
    """Give a family's samples in pieces, the last of which may be empty."""
    metric = _new(family)
    for labels, value in family.read(reading):
        if isinstance(value, Histogram):
            assert isinstance(metric, HistogramMetricFamily)
            unit = 1e9 if family.name.endswith("_seconds") else 1.0
            bounds = _bounds(value.bounds, unit)
            buckets = list(zip(bounds, accumulate(value.counts), strict=True))
            metric.add_metric(labels, buckets, value.sum / unit)
        else:
            assert isinstance(metric, CounterMetricFamily | GaugeMetricFamily)
            metric.add_metric(labels, value)
        if len(metric.samples) >= _PIECE:
            yield metric
            metric = _new(family)
    yield metric


def _new(family: Family) -> Metric:
    metric: Metric = _KINDS[family.kind](family.name, family.help, labels=family.labels)
    return metric


@cache
def _bounds(bounds: tuple[int, ...], unit: float) -> list[str]:
    """Write the bounds of buckets; there are a few kinds only."""
    return [*(str(bound / unit) for bound in bounds), "+Inf"]
