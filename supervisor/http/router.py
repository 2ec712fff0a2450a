"""The router: method and path to a handler, by comparing segments.

Owns the route table. Segments are compared as they came and decoded one by one, so that an encoded
slash or `..` is a name that nobody has, never a path. A route that spells a segment out goes before
one that takes any name there. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import web

from supervisor.errors import MethodNotAllowed, NotFound

Handler = Callable[..., Awaitable[web.StreamResponse]]


class Router:
    """A table of routes such as `POST v2/models/{model}/infer`."""

    def __init__(self) -> None:
        self._routes: dict[int, list[tuple[list[str], dict[str, Handler]]]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add a route; each `{name}` segment becomes a keyword argument of the handler."""
        segments = path.split("/")
        for known, methods in self._routes.setdefault(len(segments), []):
            if known == segments:
                methods[method] = handler
                return
        routes = self._routes[len(segments)]
        routes.append((segments, {method: handler}))
        routes.sort(key=lambda route: [segment[:1] == "{" for segment in route[0]])

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """Find the handler of a path (without its query) and the path's names.

        Raises:
            NotFound: there is no such path.
            MethodNotAllowed: there is, for other methods.

        """
        segments = path.strip("/").split("/")
        for known, methods in self._routes.get(len(segments), ()):
            names = _match(known, segments)
            handler = methods.get("GET" if method == "HEAD" else method)
            if names is not None and handler is not None:
                return handler, names
        if allowed := self.methods(path):
            raise MethodNotAllowed(
                f"{method} is not allowed for {path[:200]}; use {', '.join(allowed)}"
            )
        raise NotFound(f"there is no {path[:200]} here")

    def methods(self, path: str) -> list[str]:
        """List the methods that a path takes; none when there is no such path."""
        segments = path.strip("/").split("/")
        allowed: set[str] = set()
        for known, methods in self._routes.get(len(segments), ()):
            if _match(known, segments) is not None:
                allowed.update(methods)
        return sorted(allowed)


def _match(known: list[str], segments: list[str]) -> dict[str, str] | None:
    names = {}
    for pattern, segment in zip(known, segments, strict=True):
        if pattern[:1] == "{":
            names[pattern[1:-1]] = unquote(segment)
        elif pattern != segment:
            return None
    return names
