"""What a route is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nimctl.server.gateway.config import KeyClass
from nimctl.server.gateway.service import Service
from nimctl.server.gateway.wire import Answer, RequestHead

Respond = Callable[[Service, RequestHead], Answer | Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One path.

    Attributes:
        path: `{id}` in it stands for one plain name.
        any_id: That name may hold anything, slashes too.
        methods: What it may be called with.
        respond: The gateway's own answer; None passes the request to the engine.
        key_class: Whose keys it needs, where such are set; None opens it to everybody.
        needs_engine: Answered 503 while the engine is not ready.
    """

    path: str
    any_id: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD")
    respond: Respond | None = None
    key_class: KeyClass | None = "generation"
    needs_engine: bool = False
