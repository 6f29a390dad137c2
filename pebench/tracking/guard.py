"""Lets nobody to MLflow's pages but who has the token of their address, as Jupyter does.

A loopback address is open to everyone who is logged in on the machine, and MLflow's server asks nobody for a
name. The guard stands before all of its routes. The token comes in the address that ``pebench ui`` prints, is
exchanged for a cookie there, and may be given as a bearer token, which MLflow's clients send for
``MLFLOW_TRACKING_TOKEN``.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pebench.tracking.mlflow_internals import ASSISTANT_OPENED

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

PARAMETER = "token"
"""The name of the token in an address."""

_ASSISTANT = re.compile(r"/mlflow/assistant(/|$)")
_REFUSED = b"These pages open with the whole address that 'pebench ui' printed, with its token.\n"
_OFF = b"MLflow's assistant, which runs commands on this machine, is off in 'pebench ui'.\n"


class Guard:
    """An ASGI application before another one.

    Args:
        application: what is guarded.
        token: what a request must know.
        port: of the server, in the cookie's name: browsers give the cookies of one port to all others.
    """

    def __init__(self, application: Application, token: str, port: int) -> None:
        self._application = application
        self._token = token
        self._cookie = f"pebench-{port}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._in_address(scope):
            await self._welcome(scope, send)
        elif not self._is_known(scope):
            await _answer(send, 401, _REFUSED, [(b"www-authenticate", b"Bearer")])
        elif _ASSISTANT.search(scope["path"]):
            await _answer(send, 403, _OFF)
        else:
            await self._application(scope, receive, send)

    def _in_address(self, scope: Message) -> bool:
        return any(name == PARAMETER and self._is_token(value) for name, value in _query(scope))

    def _is_known(self, scope: Message) -> bool:
        for name, raw in scope["headers"]:
            text = raw.decode("latin-1")
            if name == b"authorization":
                kind, _, value = text.partition(" ")
                if kind.lower() == "bearer" and self._is_token(value.strip()):
                    return True
            if name == b"cookie" and self._is_token(_cookie(text, self._cookie)):
                return True
        return False

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self._token.encode())

    async def _welcome(self, scope: Message, send: Send) -> None:
        """Sends a browser to the same address without the token, which it has as a cookie from now on. What
        stands behind '#' in the address it keeps by itself."""
        rest = urlencode([pair for pair in _query(scope) if pair[0] != PARAMETER])
        path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/")
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        there = f"{path}?{rest}" if rest else path
        headers = [(b"set-cookie", cookie.encode("ascii")), (b"referrer-policy", b"no-referrer")]
        if any(name == b"accept" and b"text/html" in value for name, value in scope["headers"]):
            await _answer(send, 200, _forwarding(there), headers, "text/html")
        else:
            await _answer(send, 302, b"", [(b"location", there.encode("latin-1")), *headers])


def _forwarding(there: str) -> bytes:
    """A page that goes on to an address of this server, and has MLflow's leave the pane of the assistant
    closed, which is off."""
    known, address = (json.dumps(text).replace("<", "\\u003c") for text in (ASSISTANT_OPENED, there))
    script = f'localStorage.setItem({known}, "true"); location.replace({address} + location.hash);'
    return f"<!DOCTYPE html><title>pebench</title><script>{script}</script>\n".encode()


def _query(scope: Message) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    except ValueError:
        return []


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
    kind: str = "text/plain",
) -> None:
    own = [
        (b"content-type", f"{kind}; charset=utf-8".encode("ascii")),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
