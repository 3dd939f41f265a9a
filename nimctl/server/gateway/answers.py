"""What the gateway answers itself: health, models, metadata, version and metrics."""

import asyncio
from hashlib import sha256
from urllib.parse import unquote

from nimctl.core.engine_address import EngineAddress
from nimctl.server.gateway.body import unknown_model
from nimctl.server.gateway.engine_call import scrape
from nimctl.server.gateway.metrics_page import render_page
from nimctl.server.gateway.service import Service
from nimctl.server.gateway.wire import Answer, RefusedError, RequestHead, json_answer

MODEL_PREFIX = "/v1/models/"


def require_engine(service: Service) -> EngineAddress:
    """Where the engine is.

    Raises:
        RefusedError: 503 with the cause while it is starting or down.
    """
    address = service.engine.address
    if address is None:
        raise RefusedError(
            503,
            service.engine.cause,
            "engine_not_ready",
            retry_after_s=service.engine.expected_in_s,
        )
    return address


def live(service: Service, head: RequestHead) -> Answer:
    """The gateway runs."""
    return _health("Service is live.")


def ready(service: Service, head: RequestHead) -> Answer:
    """The engine generates; 503 with the cause while it does not."""
    require_engine(service)
    return _health("Service is ready.")


def models(service: Service, head: RequestHead) -> Answer:
    """The list of models in NIM's shape."""
    data = [_describe(service, name) for name in service.served_names]
    return json_answer({"object": "list", "data": data})


def model(service: Service, head: RequestHead) -> Answer:
    """One model; its name may hold slashes, escaped or not."""
    name = unquote(head.path.removeprefix(MODEL_PREFIX))
    if name not in service.served_names:
        raise unknown_model(name, service.served_names)
    return json_answer(_describe(service, name))


def metadata(service: Service, head: RequestHead) -> Answer:
    """What is loaded, as whoever started the gateway described it."""
    return json_answer(dict(service.model.metadata))


def manifest(service: Service, head: RequestHead) -> Answer:
    """The files that are loaded, as whoever started the gateway listed them."""
    return json_answer(dict(service.model.manifest))


def licence(service: Service, head: RequestHead) -> Answer:
    """The model's licence, as far as whoever started the gateway knows it."""
    return json_answer(dict(service.model.licence))


def version(service: Service, head: RequestHead) -> Answer:
    """The versions of this server and of its interface."""
    return json_answer(dict(service.model.version))


async def metrics(service: Service, head: RequestHead) -> Answer:
    """The gateway's figures, the GPUs' and, when it gives them in time, the engine's."""
    address = service.engine.address
    theirs = ""
    if address is not None:
        theirs = await scrape(address, service.model.offer.metrics_path)
    gpus = () if service.read_gpus is None else await asyncio.to_thread(service.read_gpus)
    page = render_page(service, engine_page=theirs, gpus=gpus)
    return Answer(
        status=200, body=page.encode(), content_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _health(message: str) -> Answer:
    return json_answer({"object": "health.response", "message": message})


def _describe(service: Service, name: str) -> dict[str, object]:
    permission = {
        "id": f"modelperm-{sha256(name.encode()).hexdigest()[:32]}",
        "object": "model_permission",
        "created": service.model.created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": service.model.created,
        "owned_by": "system",
        "root": service.model.names[0],
        "parent": service.model.names[0] if name in service.adapters else None,
        "max_model_len": service.model.context_length,
        "permission": [permission],
    }
