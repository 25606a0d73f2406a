"""The dashboard's doors: what gets in, what is refused and counted, and what every answer forbids the browser."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fivefold.cluster import create_cluster, free_addresses
from fivefold.errors import ConfigurationError
from fivefold.protocol.limits import OBJECT_ID_BYTES_MAX

for module in ("starlette", "uvicorn"):
    pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[dashboard]'")

from fivefold.cli.app import app as command_line  # noqa: E402
from fivefold.dashboard import Doors, Watcher, check_address, make_app, serve, serving  # noqa: E402
from fivefold.dashboard.app import VIEWERS_MAX  # noqa: E402
from fivefold.dashboard.guard import HEADERS, PATH_BYTES_MAX, QUERY_BYTES_MAX  # noqa: E402
from fivefold.upkeep import ObjectView  # noqa: E402

HOST = "127.0.0.1:8055"
TOKEN = "0123456789abcdef0123"
EVIL = "</script><script>alert(1)</script>"


class Seen:
    """What a watcher offers; nothing is connected."""

    def __init__(self) -> None:
        self.refused, self.every_s, self.asked = {}, 2.0, []
        self.hold = asyncio.Event()

    def snapshot(self) -> bytes:
        return json.dumps({"view": None, "points": [], "id": EVIL}).encode()

    async def changes(self) -> AsyncIterator[bytes]:
        yield b"{}"
        await self.hold.wait()

    async def show(self, name: str) -> ObjectView | None:
        self.asked.append(name)
        return None if name == "Map/slow" else ObjectView(name, "METHOD", "1", 6, 5, 3, ())

    async def start(self) -> None:
        return

    async def run(self) -> None:
        await asyncio.sleep(3600)

    async def close(self) -> None:
        self.hold.set()


class Door:
    """The application, asked without a network."""

    def __init__(self, token: str | None = None, host: str = "127.0.0.1") -> None:
        self.watcher, self.doors = Seen(), Doors(host, 8055, token)
        self.app = make_app(self.watcher, self.doors)

    async def ask(self, path: str, method: str = "GET", query: str = "", **headers: str) -> SimpleNamespace:
        given = {"host": HOST, **{name.replace("_", "-"): text for name, text in headers.items()}}
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "root_path": "",
            "raw_path": path.encode(), "query_string": query.encode(), "server": ("127.0.0.1", 8055),
            "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        }  # fmt: skip
        sent: list[dict] = []

        async def receive() -> dict:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        body = b"".join(each.get("body", b"") for each in sent[1:])
        found = {name.decode(): text.decode() for name, text in sent[0]["headers"]}
        return SimpleNamespace(status=sent[0]["status"], headers=found, text=body.decode())


# --- where it may listen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    """Only this machine's users get there."""
    check_address(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.9", "::"])
def test_any_other_address_needs_a_token_and_says_so(host: str) -> None:
    """The message names the variable, and the way without one."""
    with pytest.raises(ConfigurationError, match=r"FIVEFOLD_DASHBOARD_TOKEN.*ssh -L"):
        check_address(host, None)
    check_address(host, TOKEN)


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with a blank in it!", "ä" * 20])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    """It has 16 letters and digits at least."""
    with pytest.raises(ConfigurationError, match="not safe"):
        check_address("0.0.0.0", token)


def test_a_name_that_is_no_address_is_refused() -> None:
    """Another name could mean any address."""
    with pytest.raises(ConfigurationError, match="no address to listen on"):
        check_address("dashboard.example", TOKEN)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"path": "/", "method": "POST"}, 405, "wrong-method"),
        ({"path": "/object", "method": "DELETE"}, 405, "wrong-method"),
        ({"path": "/", "content_length": "3"}, 413, "with-a-body"),
        ({"path": "/", "transfer_encoding": "chunked"}, 413, "with-a-body"),
        ({"path": "/" + "a" * PATH_BYTES_MAX}, 414, "too-long"),
        ({"path": "/object", "query": "id=" + "a" * QUERY_BYTES_MAX}, 414, "too-long"),
        ({"path": "/../../etc/passwd"}, 400, "wrong-path"),
        ({"path": "/%2e%2e/page.css"}, 400, "wrong-path"),
        ({"path": "/..%5cpage.css"}, 400, "wrong-path"),
        ({"path": "/page.css%00.html"}, 400, "wrong-path"),
        ({"path": "//page.css"}, 400, "wrong-path"),
        ({"path": "/pages/page.html"}, 400, "wrong-path"),
        ({"path": "/page.html"}, 404, "no-such-page"),
        ({"path": "/..page"}, 400, "wrong-path"),
        ({"path": "/", "host": "evil.example"}, 421, "wrong-host"),
        ({"path": "/", "host": "evil.example:8055"}, 421, "wrong-host"),
        ({"path": "/", "host": ""}, 421, "wrong-host"),
        ({"path": "/", "host": "127.0.0.1:9999"}, 421, "wrong-host"),
        ({"path": "/events", "origin": "http://evil.example"}, 403, "cross-site"),
        ({"path": "/events", "origin": "null"}, 403, "cross-site"),
        ({"path": "/events", "sec_fetch_site": "cross-site"}, 403, "cross-site"),
        ({"path": "/events", "sec_fetch_site": "same-site"}, 403, "cross-site"),
        ({"path": "/object"}, 400, "no-object"),
        ({"path": "/object", "query": "id=" + "a" * (OBJECT_ID_BYTES_MAX + 1)}, 400, "no-object"),
        ({"path": "/object", "query": "id=%ff%fe"}, 400, "no-object"),
    ],
)
async def test_a_request_that_should_not_be_is_refused_and_counted(request_: dict, status: int, reason: str) -> None:
    """Nothing of it reaches the cluster, the answer says why, and it has the headers that every answer has."""
    door = Door()
    found = await door.ask(**request_)
    assert (found.status, dict(door.doors.refused), door.watcher.asked) == (status, {reason: 1}, [])
    assert found.text.endswith("\n")
    assert {name.lower(): text for name, text in HEADERS.items()}.items() <= found.headers.items()


@pytest.mark.parametrize("host", [HOST, "localhost:8055", "LOCALHOST:8055", "[::1]:8055"])
async def test_the_page_is_there_under_the_names_of_this_machine(host: str) -> None:
    """With a policy that lets nothing load from elsewhere, and nothing run that is not the dashboard's own."""
    door = Door()
    found = await door.ask("/", host=host, origin=f"http://{host}", sec_fetch_site="same-origin")
    assert (found.status, dict(door.doors.refused)) == (200, {})
    policy = found.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_what_servers_say_cannot_end_the_page_s_script() -> None:
    """An object's id may be markup: in the page it is JSON without an angle bracket."""
    text = (await Door().ask("/")).text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    assert json.loads(data)["id"] == EVIL
    assert EVIL not in text


async def test_an_object_is_asked_for_by_its_id_as_it_was_written() -> None:
    """Also one with characters that mean something in an address; one that takes too long is said to."""
    door = Door()
    found = await door.ask("/object", query="id=Map%2Fa%26b%3C%3E%20%C3%A4")
    assert (found.status, door.watcher.asked) == (200, ["Map/a&b<> ä"])
    assert json.loads(found.text)["object_id"] == "Map/a&b<> ä"
    assert found.headers["content-type"] == "application/json"
    assert (await door.ask("/object", query="id=Map/slow")).status == 504


# --- the token ------------------------------------------------------------------------------------------------------


async def test_without_the_token_nothing_is_shown() -> None:
    """Neither page nor script nor events, whatever else is sent; and each try is counted."""
    door = Door(TOKEN, "192.168.1.9")
    for path in ("/", "/main.js", "/events", "/object"):
        assert (await door.ask(path)).status == 401
    wrong = "x" * len(TOKEN)
    assert (await door.ask("/", query=f"token={wrong}")).status == 401
    assert (await door.ask("/", authorization=f"Bearer {wrong}")).status == 401
    assert (await door.ask("/", cookie=f"fivefold-dashboard={wrong}")).status == 401
    assert (await door.ask("/", cookie="\x01=;;;=")).status == 401
    assert door.doors.refused == {"no-token": 8}


async def test_the_token_in_the_address_becomes_a_cookie() -> None:
    """The browser goes on without it in the address; the cookie goes to this site alone, and no script sees it."""
    door = Door(TOKEN, "192.168.1.9")
    entered = await door.ask("/", query=f"token={TOKEN}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert re.search("HttpOnly", cookie)
    assert re.search("SameSite=strict", cookie, re.IGNORECASE)
    assert (await door.ask("/", cookie=cookie.partition(";")[0])).status == 200
    assert (await door.ask("/", authorization=f"Bearer {TOKEN}")).status == 200


async def test_another_site_gets_nothing_with_the_token_either() -> None:
    """Its pages may make a browser send the cookie in old browsers: they are refused before the token is looked at."""
    door = Door(TOKEN, "192.168.1.9")
    found = await door.ask("/", cookie=f"fivefold-dashboard={TOKEN}", sec_fetch_site="cross-site")
    assert (found.status, door.doors.refused) == (403, {"cross-site": 1})


# --- over a network -------------------------------------------------------------------------------------------------


async def talk(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read(65536)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, Seen]]:
    """A dashboard on a port of loopback."""
    monkeypatch.setattr(serving, "HEAD_S_MAX", 0.3)
    watcher, ready = Seen(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(watcher, "127.0.0.1", 0, None, ready.set_result))
    address = await ready
    yield int(address.rsplit(":", 1)[1].strip("/")), watcher
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_no_http_is_refused_and_counted(served: tuple[int, Seen]) -> None:
    """Noise, a head without an end, and a caller that says nothing: the dashboard answers the next one."""
    port, watcher = served
    assert b"400" in await talk(port, b"\x16\x03\x01 noise \x00\xff\r\n\r\n")
    assert b"400" in await talk(port, b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
    assert watcher.refused == {"malformed": 2}
    assert await talk(port, b"") == b""
    assert await talk(port, b"GET / HTTP/1.1\r\nHost: ") == b""
    assert watcher.refused == {"malformed": 2, "silent": 2}
    assert b"200 OK" in await talk(port, f"GET /main.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())


async def test_only_so_many_pages_hear_of_changes(served: tuple[int, Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is told so; when one closes, there is room again."""
    port, watcher = served
    monkeypatch.setattr("fivefold.dashboard.app.VIEWERS_MAX", 2)
    request = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    viewers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, writer in viewers:
        writer.write(request)
        assert b"data: " in await reader.readuntil(b"data: ")
    assert b"503" in await talk(port, request)
    assert watcher.refused["too-many-viewers"] == 1
    for _, writer in viewers:
        writer.close()
    answer = b""
    async with asyncio.timeout(10):
        while b"200 OK" not in answer:
            answer = await talk(port, request)
    assert VIEWERS_MAX < serving.CONNECTIONS_MAX


async def test_an_address_in_use_is_a_clear_error(served: tuple[int, Seen]) -> None:
    """It names the option that helps."""
    with pytest.raises(ConfigurationError, match="choose another --listen"):
        await serve(Seen(), "127.0.0.1", served[0], None)


# --- the watcher, and the command -----------------------------------------------------------------------------------


async def test_it_watches_a_cluster_of_which_nobody_answers(tmp_path: Path) -> None:
    """It starts all the same, and says that no call completes."""
    create_cluster(tmp_path, free_addresses(6), t=1, b=1)
    watcher = Watcher(tmp_path / "cluster.toml", identity=None, every_s=0.05)
    await watcher.start()
    looking = asyncio.create_task(watcher.run())
    try:
        first = json.loads(watcher.snapshot())
        assert first["view"]["headline"]["word"] == "DOWN"
        async with asyncio.timeout(10):
            change = json.loads(await anext(watcher.changes()))
        assert change["view"]["at"] > first["view"]["at"]
        found = await watcher.show("Counter/hits")
        assert {each.silence for each in found.servers} == {"not connected"}
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await watcher.close()


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with a stack of calls."""
    for name in [name for name in sys.modules if name.startswith(("fivefold.dashboard", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    found = CliRunner().invoke(command_line, ["dashboard"])
    assert isinstance(found.exception, ConfigurationError)
    assert "pip install 'fivefold[dashboard]'" in str(found.exception)
