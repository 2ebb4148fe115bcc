"""Who may ask the page, and what a browser may do with its answers (ASGI middleware)."""

from collections.abc import Callable

HOST = "127.0.0.1"
NAMES = (HOST.encode(), b"localhost")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*",  # a notebook of this machine
    )
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),  # another page on this port, later, must not meet what this one showed
]


class OwnPageOnly:
    """Refuse requests of other sites, also under other host names of this machine; add `HEADERS` to all answers."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def guarded(message: dict) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        if host.split(b":")[0] not in NAMES or headers.get(b"origin", b"http://" + host) != b"http://" + host:
            await guarded({"type": "http.response.start", "status": 403})
            await guarded({"type": "http.response.body", "body": b"only from this machine's own page"})
            return
        await self.app(scope, receive, guarded)
