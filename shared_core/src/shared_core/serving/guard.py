"""What keeps a page to this machine: whom the server answers, and what the browser may load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Tells a browser to ask no other machine for anything, whatever the page holds. gradio's own scripts stand
in the page and compile its templates."""


class Guard:
    """ASGI middleware that answers known hosts alone, with a content policy.

    A page of another site, whose name is made to lead to this machine, is a stranger by its name.

    Args:
        app: what answers.
        hosts: names by which the server may be called; `*`: any.
    """

    def __init__(self, app: App, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(b"content-security-policy", POLICY.encode())]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        if self._knows(scope):
            await self._app(scope, receive, guarded)
            return
        await guarded({"type": "http.response.start", "status": 400, "headers": []})
        await guarded({"type": "http.response.body", "body": b"This page has another address."})

    def _knows(self, scope: Message) -> bool:
        if "*" in self._hosts:
            return True
        called = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        name = called.rpartition(":")[0] or called
        return name.strip("[]") in self._hosts
