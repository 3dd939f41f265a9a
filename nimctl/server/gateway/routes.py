"""Which paths there are, who may call them, and who answers: the gateway or the engine."""

import re

from nimctl.core.surface import Offer
from nimctl.server.gateway import answers
from nimctl.server.gateway.config import KeyClass
from nimctl.server.gateway.openapi import describe_api, render_docs
from nimctl.server.gateway.route import Route
from nimctl.server.gateway.service import CANCEL, LOAD_ADAPTER, UNLOAD_ADAPTER, Service
from nimctl.server.gateway.wire import Answer, RefusedError, RequestHead, json_answer


def list_offered(offer: Offer) -> tuple[Route, ...]:
    """The routes that an engine which offers this makes callable."""
    return tuple(route for route in ROUTES if route.respond is not None or offer.offers(route.path))


def _openapi(service: Service, head: RequestHead) -> Answer:
    offer = service.model.offer
    version = service.model.version.get("release", "")
    return json_answer(describe_api(list_offered(offer), offer, version))


def _docs(service: Service, head: RequestHead) -> Answer:
    offer = service.model.offer
    page = render_docs(list_offered(offer), offer, service.model.names)
    return Answer(status=200, body=page.encode(), content_type="text/html; charset=utf-8")


def _spliced(path: str, method: str = "POST", key_class: KeyClass = "generation") -> Route:
    return Route(path=path, methods=(method,), needs_engine=True, key_class=key_class)


ROUTES = (
    _spliced("/v1/chat/completions"),
    _spliced("/v1/completions"),
    _spliced("/v1/responses"),
    _spliced("/v1/responses/{id}", "GET"),
    _spliced(CANCEL),
    _spliced("/v1/messages"),
    _spliced("/v1/messages/count_tokens"),
    _spliced("/v1/embeddings"),
    _spliced("/v1/rerank"),
    _spliced("/rerank"),
    _spliced("/v1/ranking"),
    _spliced("/tokenize"),
    _spliced("/detokenize"),
    _spliced(LOAD_ADAPTER, key_class="management"),
    _spliced(UNLOAD_ADAPTER, key_class="management"),
    # A model that cannot answer is not listed: many clients take the list for readiness.
    Route(path="/v1/models", respond=answers.models, needs_engine=True),
    Route(path="/v1/models/{id}", any_id=True, respond=answers.model, needs_engine=True),
    Route(path="/v1/metadata", respond=answers.metadata, key_class="management"),
    Route(path="/v1/manifest", respond=answers.manifest, key_class="management"),
    Route(path="/v1/license", respond=answers.licence, key_class="management"),
    Route(path="/v1/version", respond=answers.version, key_class="management"),
    Route(path="/v1/health/live", respond=answers.live, key_class=None),
    Route(path="/v1/health/ready", respond=answers.ready, key_class=None),
    Route(path="/v1/metrics", respond=answers.metrics, key_class="metrics"),
    Route(path="/openapi.json", respond=_openapi, key_class=None),
    Route(path="/docs", respond=_docs, key_class=None),
)


def _pattern(route: Route) -> re.Pattern[str]:
    begin, end = map(re.escape, route.path.split("{id}"))
    return re.compile(f"{begin}{'.*' if route.any_id else _PLAIN_ID}{end}")


# The engine gets it as it is; so nothing that could mean another path there.
_PLAIN_ID = "[A-Za-z0-9_-][A-Za-z0-9_.:-]*"
_BY_PATH = {route.path: route for route in ROUTES if "{id}" not in route.path}
_BY_PATTERN = tuple((_pattern(route), route) for route in ROUTES if "{id}" in route.path)


def find_route(head: RequestHead, offer: Offer) -> Route:
    """The route of a request to an engine that offers this.

    Raises:
        RefusedError: 404 for an unknown path, 405 for a method the path does not know, 501 for a
            path that the engine lacks.
    """
    route = _BY_PATH.get(head.path) or next(
        (route for pattern, route in _BY_PATTERN if pattern.fullmatch(head.path)), None
    )
    if route is None:
        raise RefusedError(404, f"There is no {head.path[:200]}.", "unknown_path")
    if head.method not in route.methods:
        allowed = ", ".join(route.methods)
        message = f"{route.path} is called with {allowed}, not {head.method}."
        raise RefusedError(405, message, "wrong_method", headers=(("allow", allowed),))
    if route.respond is None and not offer.offers(route.path):
        raise RefusedError(501, offer.explain_missing(route.path), "not_offered_by_engine")
    return route
