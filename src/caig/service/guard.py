"""What every request passes before the app sees it: host, origin, size, rate; and what every answer carries.

Plain ASGI: it adds microseconds to a request.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caig.service.config import Config
from caig.service.problems import problem

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
UPLOAD = ("POST", "/v1/products")  # the only request that brings files
JSON_BYTES = 64_000
OVERHEAD = 20_000  # of a multipart body, beside its files
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"  # no text can become markup
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-cache",  # ask again each time; files have an ETag
}


class Guard:
    """Refuses requests to foreign hosts (DNS rebinding), changes from foreign pages and bodies that are too large.

    Cross-origin reads stay impossible: no answer carries a CORS header.
    """

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self.app, self.config = app, config
        self.hosts = LOOPBACK | {f"{host}:{config.port}" for host in LOOPBACK} | set(config.allow_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        with_headers = _adding(send)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await problem(*refused)(scope, receive, with_headers)
            return
        await self.app(scope, _limited(receive, self._most(scope, headers)), with_headers)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str] | None:
        """Why the request goes no further."""
        if headers.get(b"host", "").lower() not in self.hosts:
            return 421, "host: expected one of this service, got another. Name it with --allow-host."
        if scope["method"] not in CHANGES:
            return None
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self.hosts:
            return 403, "origin: expected a page of this service, got another."
        length = headers.get(b"content-length", "0")
        if not length.isdigit():
            return 400, "content-length: expected a whole number."
        if int(length) > (most := self._most(scope, headers)):
            return 413, f"body: expected at most {most} bytes, got {length}."
        return None

    def _most(self, scope: Scope, headers: dict[bytes, str]) -> int:
        """Bytes that the body may have: much only where photos are uploaded."""
        multipart = headers.get(b"content-type", "").lower().startswith("multipart/form-data")
        upload = multipart and (scope["method"], scope["path"]) == UPLOAD
        return 2 * self.config.upload_bytes + OVERHEAD if upload else JSON_BYTES


def _limited(receive: Receive, most: int) -> Receive:
    """`receive` that ends a body without a stated length when it grows too large."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, f"body: expected at most {most} bytes, got more.")
        return message

    return limited


def _adding(send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *((k, v) for k, v in HEADERS.items() if k not in given)]
        await send(message)

    return adding


class Rates:
    """Token buckets by sender and kind of request: `rate` a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str) -> None:
        """Count one request. HTTPException 429 when the sender has to wait."""
        now = time.monotonic()
        left, at = self._left.pop(sender, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.rate)
        self._left[sender] = (left - 1 if left >= 1 else left, now)  # who is refused keeps what it has earned
        if len(self._left) > 10_000:
            self._left.popitem(last=False)
        if left < 1:
            wait: dict[str, Any] = {"Retry-After": str(max(1, round((1 - left) / self.rate)))}
            raise HTTPException(429, "rate: expected fewer requests from this key. Wait, or raise the limit.", wait)
