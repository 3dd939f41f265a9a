"""What a route is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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
        keyed: A key is needed when keys are set.
        needs_engine: Answered 503 while the engine is not ready.
    """

    path: str
    any_id: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD")
    respond: Respond | None = None
    keyed: bool = True
    needs_engine: bool = False
