"""Which requests to the dashboard are refused, and counted: malformed, huge, from elsewhere, without the token.

The page shows names of objects and clients of a cluster to whoever can open it. On loopback that is every user of this
machine, and every page that a browser on it has open may send requests there. So a request must name this server in
its Host (else a name of the attacker's could be pointed here: DNS rebinding), and must not come from another site.
Anywhere else it also has to bring a token.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fivefold.cluster import join_address
from fivefold.errors import ConfigurationError

PATH_BYTES_MAX: Final = 64
"""The longest path of ours has 12."""

QUERY_BYTES_MAX: Final = 2048
"""An object's id has 255 bytes at most, each of which may be written as three."""

TOKEN_CHARACTERS_MIN: Final = 16
"""Of a token: nobody can try so many."""

COOKIE: Final = "fivefold-dashboard"

_PLAIN: Final = re.compile(rb"/[A-Za-z0-9._-]*")
"""What a path of ours looks like, before anything in it is decoded."""

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing is loaded from elsewhere, nothing is shown within another page, nothing is kept."""


def check_address(host: str, token: str | None) -> None:
    """Refuse to listen where others could watch without a token.

    Raises:
        ConfigurationError: the address is none, or not loopback and there is no token, or that is too short.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ConfigurationError(
            f"{host} is no address to listen on: give one of this machine's, or localhost"
        ) from None
    if token is not None and (len(token) < TOKEN_CHARACTERS_MIN or not re.fullmatch(r"[A-Za-z0-9._~-]+", token)):
        raise ConfigurationError(
            f"the token is not safe: give {TOKEN_CHARACTERS_MIN} or more letters and digits, such as those of "
            "`openssl rand -hex 16`"
        )
    if not is_loopback and token is None:
        raise ConfigurationError(
            f"at {host} others could watch this cluster: set FIVEFOLD_DASHBOARD_TOKEN, or listen on 127.0.0.1 and use "
            "`ssh -L` to get there"
        )


class Doors:
    """Where the dashboard listens, and who gets in.

    Attributes:
        refused: how many requests were refused, by reason.
    """

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        """At this address; ``port`` is the one that is listened on."""
        self.refused: Counter[str] = Counter()
        self._token = token
        names = {host, "127.0.0.1", "localhost", "::1"}
        self._hosts = {join_address(name, port) for name in names} if token is None else None
        if self._hosts is not None and port == 80:
            self._hosts |= {f"[{name}]" if ":" in name else name for name in names}

    def refusal(self, scope: Scope) -> Response | None:
        """What to answer a request that is refused; None for one that may pass."""
        headers = Headers(scope=scope)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        why = _malformed(scope, headers, raw) or self._foreign(headers)
        if why is not None:
            return self._refuse(*why)
        if self._token is None:
            return None
        given = parse_qs(scope["query_string"].decode("ascii", "replace")).get("token", [""])[0]
        if given and self._is_token(given):  # in a cookie from now on: an address with a token would stay in histories
            entered = RedirectResponse(scope["path"], status_code=303)
            entered.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
            return entered
        if self._is_token(_cookie(headers)) or self._is_token(headers.get("authorization", "").removeprefix("Bearer ")):
            return None
        return self._refuse("no-token", 401, "this dashboard needs its token: open the address that it printed")

    def _refuse(self, reason: str, status: int, text: str) -> Response:
        self.refused[reason] += 1
        return PlainTextResponse(f"{text}\n", status_code=status)

    def _is_token(self, given: str) -> bool:
        assert self._token is not None, "only asked if there is one"
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    def _foreign(self, headers: Headers) -> tuple[str, int, str] | None:
        """Whether a request was made by a page of another site, or for a name that is not this server's."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and host.lower() not in self._hosts:
            return "wrong-host", 421, "this dashboard has another name: open the address that it printed"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "cross-site", 403, "another site's page may not ask this dashboard"
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            return "cross-site", 403, "another site's page may not ask this dashboard"
        return None


def _malformed(scope: Scope, headers: Headers, raw: bytes) -> tuple[str, int, str] | None:
    if scope["method"] not in ("GET", "HEAD"):
        return "wrong-method", 405, "this dashboard only shows: it takes GET"
    if len(raw) > PATH_BYTES_MAX or len(scope["query_string"]) > QUERY_BYTES_MAX:
        return "too-long", 414, "no address of this dashboard is so long"
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return "with-a-body", 413, "this dashboard only shows: it takes no content"
    if not _PLAIN.fullmatch(raw) or b".." in raw:
        return "wrong-path", 400, "this is no address of this dashboard"
    return None


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


class Guarded:
    """An application behind its doors."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        """Nothing gets to ``app`` that the doors refuse."""
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._doors.refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def guarded(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            given = message.get("headers")
            assert isinstance(given, list), "an answer has headers"
            message["headers"] = [*given, *((name.lower().encode(), text.encode()) for name, text in HEADERS.items())]
        await send(message)

    return guarded
