"""What the gateway reads in a request body of modest size: the model's name, and NIM's fields."""

import json
from typing import Any, NoReturn

from nimctl.core.request_fields import RefusedFieldError, translate_fields
from nimctl.core.surface import Offer
from nimctl.server.gateway.exchange import Exchange
from nimctl.server.gateway.service import CANCEL, Service
from nimctl.server.gateway.wire import RefusedError


def take_checked_body(service: Service, exchange: Exchange) -> bytes:
    """The body to send to the engine: what came, unless fields must be renamed for it.

    Raises:
        RefusedError: 400 for what is not a JSON object and for a field that the engine cannot
            honour, 404 for a model that is not served.
    """
    body = exchange.take_body()
    if not body and (exchange.head.method == "GET" or exchange.route == CANCEL):
        return body
    document = _read(body)
    extension = document.pop("nvext", None)
    if extension is not None and not isinstance(extension, dict):
        raise _invalid("nvext must be a JSON object.", "nvext")
    model = document.get("model")
    if model is not None and model not in service.served_names:
        raise unknown_model(str(model)[:200], service.served_names)
    if "lora_name" in document:
        exchange.adapter = str(document["lora_name"])
    translated = _translate(document, extension, service.model.offer, exchange.route)
    return body if translated is None else json.dumps(translated).encode()


def unknown_model(name: str, model_names: tuple[str, ...]) -> RefusedError:
    """The refusal of a model that is not served, naming those that are."""
    message = f"The model {name!r} does not exist; this server serves {', '.join(model_names)}."
    return RefusedError(404, message, "model_not_found", param="model")


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        reason = "it cannot be read"
        if isinstance(error, json.JSONDecodeError):
            reason = f"{error.msg} at character {error.pos}"
        raise _invalid(f"The body is not valid JSON: {reason}.", None) from error
    if not isinstance(document, dict):
        raise _invalid("The body must be a JSON object.", None)
    return document


def _translate(
    document: dict[str, Any], extension: dict[str, Any] | None, offer: Offer, route: str
) -> dict[str, Any] | None:
    """The document for the engine, or None where the body as it came will do."""
    if offer.fields is None:
        return None if extension is None else {**extension, **document}
    try:
        translated = translate_fields(document, extension or {}, offer.fields[route], offer.title)
    except RefusedFieldError as refused:
        raise RefusedError(400, str(refused), "unsupported_field", param=refused.field) from refused
    return document if translated is None and extension is not None else translated


def _invalid(message: str, param: str | None) -> RefusedError:
    return RefusedError(400, message, "invalid_body", param=param)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
