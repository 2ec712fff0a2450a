"""The operators' calls that begin an upgrade in place and show how it went.

Owns their form. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from aiohttp import web

from supervisor.http.answers import answer_json, read_object
from supervisor.http.router import Router
from supervisor.upgrade.upgrade import Upgrade


class UpgradeHandlers:
    """Handlers under `/admin/upgrade`."""

    def __init__(self, upgrade: Upgrade) -> None:
        self._upgrade = upgrade

    def routes(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "admin/upgrade", self.show)
        router.add("POST", "admin/upgrade", self.begin)

    async def show(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell how far the latest upgrade is, or how it ended."""
        del request
        return answer_json(self._upgrade.outcome.to_json())

    async def begin(self, request: web.BaseRequest) -> web.StreamResponse:
        """Begin one; the answer names it, and does not wait for it."""
        await read_object(request)
        return answer_json({"number": self._upgrade.begin("rest")}, 202)
