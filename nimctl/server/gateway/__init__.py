"""The gateway: one OpenAI-compatible server in front of one engine, as cheap as nginx.

It is a protocol of our own on uvloop with httptools (llhttp) on both sides, because of what was
measured with 256 paced streams: such a splice costs 1.1 to 1.35 times nginx's CPU per chunk, by
the machine, Starlette with httpx 12 times, and that pair falls over at 4,000 chunks a second. In
the kernel both spend the same; what ours spends beyond nginx's is uvloop and the way into the
interpreter: a splice that does nothing but parse and write costs as much. A subclass of uvicorn's
protocol costs the same as ours but hangs on uvicorn's internals and takes 7 MB more. Living at
the protocol also means that a client's leaving is seen at once in every phase, prefill included,
where request handlers of the usual frameworks see it only when they next write.

The splice does not read what it carries: response bytes go on as they came, chunk frames
included. Request bodies up to 256 KiB are parsed, for the model's name and for NIM's `nvext`.
"""

from nimctl.server.gateway.config import (
    AccessRecord,
    ApiKey,
    EngineActivity,
    EngineState,
    GatewayConfig,
    GpuFigures,
    ServedModel,
)
from nimctl.server.gateway.cors import Cors
from nimctl.server.gateway.engine_figures import EngineFigures
from nimctl.server.gateway.gateway import Gateway, new_event_loop
from nimctl.server.gateway.tls import TlsFiles
from nimctl.server.gateway.tracing import TraceTarget, Tracing

__all__ = [
    "AccessRecord",
    "ApiKey",
    "Cors",
    "EngineActivity",
    "EngineFigures",
    "EngineState",
    "Gateway",
    "GatewayConfig",
    "GpuFigures",
    "ServedModel",
    "TlsFiles",
    "TraceTarget",
    "Tracing",
    "new_event_loop",
]
