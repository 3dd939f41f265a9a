"""`serve --engine-url`: the gateway in front of an engine that runs already, and is recognised."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from difflib import get_close_matches

from nimctl import __version__
from nimctl.cli.fetching import find_authorities
from nimctl.cli.gateway_settings import make_gateway_config, read_secret_line
from nimctl.cli.registry import describe_self
from nimctl.cli.running import run_server
from nimctl.cli.serve_events import tell_json, telling_person
from nimctl.cli.served_model import API_VERSION
from nimctl.cli.terminal import bold, print_json, print_line, print_note, print_warning
from nimctl.core.engine_address import EngineAddress
from nimctl.engines.recognition import ASKED, Recognised, Told, recognise
from nimctl.errors import InputError
from nimctl.server import (
    EngineAnswer,
    OutsideEngine,
    OutsideRequest,
    ServedModel,
    TokenQuestion,
    by_chat,
    by_completion,
    find_outside,
)
from nimctl.settings import Settings

_CHOOSING = (
    *("profile", "engine", "precision", "goal", "context_length", "concurrency", "kv_precision"),
    *("tensor_parallel", "lora_dir", "served_model_names", "engine_path"),
    *("memory_share", "container", "container_image"),
)
"""Settings for an engine that nimctl starts; as an option, a contradiction here."""

_SHOWN_NAMES = 10
_KEY = re.compile(r"[\x21-\x7e]+")


def require_nothing_chosen(settings: Settings, chosen: Mapping[str, object]) -> None:
    """Refuse options for an engine that nimctl starts.

    Args:
        chosen: More of them, by what they are called; those with a value were given.

    Raises:
        InputError: there are some.
    """
    origins = (settings.origins[name] for name in _CHOOSING)
    given = [one.removeprefix("flag ") for one in origins if one.startswith("flag ")]
    given += [name for name, value in chosen.items() if value]
    if given:
        raise InputError(
            f"{', '.join(given)} cannot be used with --engine-url: that engine runs already",
            hint="leave them out, or let nimctl start an engine: nimctl serve MODEL",
        )
    address = settings.engine_url
    if settings.offline and address is not None and not address.is_local:
        raise InputError(f"--offline opens no connection to {address}")


def serve_outside(settings: Settings, model: str | None, *, json: bool) -> None:
    """Serve what the engine at `engine_url` offers, until a signal asks to stop.

    Raises:
        NimctlError: it cannot be used, or the address to listen on cannot be had.
    """
    request = _make_request(settings, model)
    print_note(f"asking the engine at {request.address}")
    name = model or settings.model or str(request.address)
    record = describe_self(
        model=name,
        names=(name,),
        profile=str(request.address),
        engine="outside",
        engine_log=None,
    )
    with nullcontext(tell_json({})) if json else telling_person(None, {}) as tell:
        run_server(request, record, settings, tell)


def print_engine(settings: Settings, model: str | None, *, json: bool) -> None:
    """What would be served, as the engine tells now.

    Raises:
        NimctlError: it cannot be used.
    """
    request = _make_request(settings, model)
    engine = asyncio.run(find_outside(request))
    found = engine.model
    if json:
        about = found.metadata["engine"]
        print_json(
            {
                "engine": about,
                "url": str(request.address),
                "health_path": engine.health_path,
                "models": list(found.names),
                "adapters": list(found.adapters),
                "context_length": found.context_length,
                "sequences": found.sequences,
            }
        )
        return
    print_line(f"{bold(found.offer.title)} at {bold(str(request.address))}")
    print_line(f"  models    {_join(found.names)}")
    if found.adapters:
        print_line(f"  adapters  {_join(found.adapters)}")
    print_line(f"  watched   {engine.health_path}")


def _make_request(settings: Settings, model: str | None) -> OutsideRequest:
    address = _choose_address(settings)
    return OutsideRequest(
        address=address,
        asked=ASKED,
        describe=_make_describer(address, model or settings.model),
        gateway=make_gateway_config(settings),
        start_timeout_s=settings.start_timeout_s,
    )


def _choose_address(settings: Settings) -> EngineAddress:
    """Where the engine is, with the key that it wants.

    Raises:
        InputError: the key cannot be read, or is none.
    """
    address = settings.engine_url
    if address is None:
        raise RuntimeError("no engine_url is set")
    key = settings.engine_api_key.reveal()
    if settings.engine_api_key_file is not None:
        key = read_secret_line(settings.engine_api_key_file)
    if key is None:
        authorization = None
    elif _KEY.fullmatch(key):
        authorization = f"Bearer {key}"
    else:
        raise InputError("the engine's key holds a blank or another character no key has")
    if key is not None and not (address.tls or address.is_local):
        print_warning(f"the engine's key goes to {address} without TLS, and can be read on the way")
    authorities = find_authorities(settings.environment)
    return replace(
        address,
        authorization=authorization,
        authorities=None if authorities is None else str(authorities),
    )


def _make_describer(
    address: EngineAddress, model: str | None
) -> Callable[[Mapping[str, EngineAnswer]], OutsideEngine]:
    created = int(time.time())

    def describe(answers: Mapping[str, EngineAnswer]) -> OutsideEngine:
        found = recognise({path: Told(status=a.status, body=a.body) for path, a in answers.items()})
        return describe_outside(found, address, model, created=created)

    return describe


def describe_outside(
    found: Recognised, address: EngineAddress, model: str | None, *, created: int
) -> OutsideEngine:
    """What clients are told of a recognised engine.

    Args:
        model: The only one to serve; None serves all that it lists.
        created: Seconds since the epoch.

    Raises:
        InputError: it does not list that model, or lists none and none was named.
    """
    names = (model,) if model is not None else found.names
    listed = (*found.names, *found.adapters)
    if not names:
        raise InputError(
            f"the engine at {address} does not tell which models it serves",
            hint="name one: nimctl serve --engine-url URL MODEL",
        )
    if model is not None and listed and model not in listed:
        nearest = get_close_matches(model, listed, n=1)
        raise InputError(
            f"the engine at {address} does not serve {model}",
            hint=f"did you mean {nearest[0]}?" if nearest else f"it serves {_join(listed)}",
        )
    about = {"name": found.engine or "unknown", "version": found.version or ""}
    return OutsideEngine(
        model=ServedModel(
            names=names,
            created=created,
            context_length=found.context_lengths.get(names[0]),
            metadata={
                "version": __version__,
                "assetInfo": [],
                "licenseInfo": {},
                "modelInfo": [{"shortName": name, "modelUrl": ""} for name in names],
                "repository_override": "",
                "engine": about,
            },
            version={"release": __version__, "api": API_VERSION},
            manifest={"object": "manifest", "model": names[0], "files": []},
            offer=found.offer,
            sequences=found.sequences,
            adapters=found.adapters if model is None else (),
        ),
        questions=_choose_questions(found, names[0]),
        health_path=found.health_path,
        is_known=found.engine is not None,
    )


def _choose_questions(found: Recognised, name: str) -> tuple[TokenQuestion, ...]:
    if found.engine is not None:
        return (by_completion(name),)
    return (
        by_chat(name, limit="max_tokens", tokens=1),
        by_chat(name, limit="max_completion_tokens", tokens=16),
        by_completion(name),
    )


def _join(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
