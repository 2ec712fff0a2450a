"""`/metrics`: what Prometheus reads.

Owns the route. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from aiohttp import web

from supervisor.http.router import Router
from supervisor.metrics.exposition import expose
from supervisor.metrics.reading import Reader


class MetricsHandlers:
    """The handler of `/metrics`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def routes(self, router: Router) -> None:
        """Add the route."""
        router.add("GET", "metrics", self.metrics)

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        """Write all metrics, as OpenMetrics where the client accepts that, else as plain text."""
        accept = request.headers.get("Accept", "")
        text, content_type = await expose(await self._reader.read(), accept)
        return web.Response(body=text, headers={"Content-Type": content_type})
