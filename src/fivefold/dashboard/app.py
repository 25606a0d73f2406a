"""What the page asks for: itself, the latest view and each change of it, and one object."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from fivefold.dashboard.guard import Doors, Guarded
from fivefold.dashboard.watcher import Watcher
from fivefold.protocol.limits import OBJECT_ID_BYTES_MAX
from fivefold.protocol.operations import ObjectId

VIEWERS_MAX: Final = 32
"""Pages that may hear of changes at once."""

ASSETS: Final = {"page.css": "text/css", "charts.js": "text/javascript", "main.js": "text/javascript"}

_UNSAFE: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def make_app(watcher: Watcher, doors: Doors) -> ASGIApp:
    """The dashboard of what the watcher sees, behind its doors."""
    pages = _Pages(watcher, doors)
    watcher.refused = doors.refused
    routes = [
        Route("/", pages.page),
        Route("/events", pages.events),
        Route("/object", pages.one_object),
        *(Route(f"/{name}", pages.asset) for name in ASSETS),
    ]
    app = Starlette(routes=routes, exception_handlers={404: pages.nothing, 405: pages.nothing})
    return Guarded(app, doors)


class _Pages:
    """Answers requests that may pass."""

    def __init__(self, watcher: Watcher, doors: Doors) -> None:
        self._watcher, self._doors = watcher, doors
        self._viewers = 0

    async def page(self, request: Request) -> Response:
        """The page with what is known now: it is useful before its first event."""
        data = self._watcher.snapshot().decode().translate(_UNSAFE)  # an object's id may be ``</script>``
        text = re.sub(r"\{\{data\}\}", lambda found: data, _asset("page.html"))
        return Response(text, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """Script or style."""
        name = request.url.path.removeprefix("/")
        return Response(_asset(name), media_type=ASSETS[name])

    async def events(self, request: Request) -> Response:
        """Each change, as server-sent events."""
        if self._viewers >= VIEWERS_MAX:
            self._doors.refused["too-many-viewers"] += 1
            return PlainTextResponse("too many pages watch: close some\n", status_code=503)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield b"retry: 1000\n\ndata: " + self._watcher.snapshot() + b"\n\n"
            async for change in self._watcher.changes():
                yield b"data: " + change + b"\n\n"
        finally:
            self._viewers -= 1

    async def one_object(self, request: Request) -> Response:
        """One object as all servers hold it."""
        name = request.query_params.get("id", "")
        if not name or len(name.encode(errors="replace")) > OBJECT_ID_BYTES_MAX or "�" in name:
            self._doors.refused["no-object"] += 1
            return PlainTextResponse("this is no object's id: write it as TYPE/KEY\n", status_code=400)
        found = await self._watcher.show(ObjectId(name))
        if found is None:
            return PlainTextResponse("the servers take too long: ask again\n", status_code=504)
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def nothing(self, request: Request, error: Exception) -> Response:
        """There is no such page."""
        assert isinstance(error, HTTPException), "that is what it is called for"
        self._doors.refused["no-such-page"] += 1
        return PlainTextResponse("there is no such page here\n", status_code=error.status_code)


@cache
def _asset(name: str) -> str:
    return files("fivefold.dashboard").joinpath("pages", name).read_text(encoding="utf-8")
