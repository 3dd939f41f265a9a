"""The OpenAPI document of the paths that can be called, and a page that shows them."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

from nimctl.core.request_fields import FieldRule
from nimctl.core.surface import Offer
from nimctl.server.gateway.openapi_schemas import BODIES, ERROR, SUMMARIES
from nimctl.server.gateway.route import Route

_CONTENT_TYPES = {"/v1/metrics": "text/plain", "/docs": "text/html"}
_ERRORS = {
    400: "The request is not right, or asks for what the engine cannot do.",
    401: "A key is needed.",
    404: "The model is not served.",
    413: "The body is too long.",
    502: "The engine failed.",
    503: "The engine is not ready.",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
td {{ padding: .3rem 1rem .3rem 0; vertical-align: top }} code {{ white-space: nowrap }}
pre {{ background: #8882; padding: 1rem; overflow: auto }}
</style></head><body><h1>{title}</h1>
<p>Models: {models}. Machine-readable: <a href="/openapi.json">/openapi.json</a>.</p>
<table>{rows}</table>
<pre>{example}</pre>
</body></html>
"""
_EXAMPLE = """curl http://HOST:PORT/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""


def describe_api(routes: Iterable[Route], offer: Offer, version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document of exactly these routes."""
    return {
        "openapi": "3.1.0",
        "info": {"title": f"nimctl: {offer.title}", "version": version},
        "paths": {route.path: _describe_path(route, offer) for route in routes},
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _describe_path(route: Route, offer: Offer) -> dict[str, Any]:
    path: dict[str, Any] = {
        method.lower(): _describe_operation(route, method, offer) for method in route.methods
    }
    if "{id}" in route.path:
        path["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return path


def _describe_operation(route: Route, method: str, offer: Offer) -> dict[str, Any]:
    by_engine = route.respond is None
    operation: dict[str, Any] = {
        "summary": SUMMARIES[route.path],
        "tags": ["generation" if by_engine else "management"],
        "responses": {"200": _answer(route)} | _errors(route),
    }
    if route.key_class is not None:
        operation["security"] = [{"bearer": []}, {"header": []}, {}]
    if method == "POST" and route.path in BODIES:
        schema = _with_extension(BODIES[route.path], (offer.fields or {}).get(route.path, {}))
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _answer(route: Route) -> dict[str, Any]:
    kinds = [_CONTENT_TYPES.get(route.path, "application/json")]
    if "stream" in BODIES.get(route.path, {}).get("properties", {}):
        kinds.append("text/event-stream")
    return {"description": "The answer.", "content": {kind: {} for kind in kinds}}


def _errors(route: Route) -> dict[str, Any]:
    by_engine = route.respond is None
    statuses = set(_ERRORS) if by_engine else set()
    statuses |= {401} if route.key_class is not None else set()
    statuses |= {503} if route.needs_engine or route.path == "/v1/health/ready" else set()
    statuses |= {404} if "{id}" in route.path else set()
    schema = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        str(status): {
            "description": _ERRORS[status],
            "content": {"application/json": schema},
        }
        for status in sorted(statuses)
    }


def _with_extension(body: dict[str, Any], rules: Mapping[str, FieldRule]) -> dict[str, Any]:
    """The body with NIM's `nvext`, where the engine honours fields in it."""
    honoured = [name for name, rule in rules.items() if rule.place]
    if "nvext" in body["properties"] or "top_k" not in honoured:
        return body
    extension = {"type": "object", "properties": {name: {} for name in sorted(honoured)}}
    return body | {"properties": body["properties"] | {"nvext": extension}}


def render_docs(routes: Iterable[Route], offer: Offer, models: tuple[str, ...]) -> str:
    """A page for people: no script, nothing from elsewhere."""
    rows = "".join(
        f"<tr><td><code>{' '.join(route.methods)}</code></td>"
        f"<td><code>{html.escape(route.path)}</code></td>"
        f"<td>{html.escape(SUMMARIES[route.path])}</td></tr>"
        for route in routes
    )
    return _PAGE.format(
        title=html.escape(f"nimctl, {offer.title}"),
        models=html.escape(", ".join(models)),
        rows=rows,
        example=html.escape(_EXAMPLE.format(model=models[0])),
    )
