"""A running model: a supervised engine process behind an OpenAI-compatible gateway."""

from nimctl.server.child import ChildFailedError, served_by_child
from nimctl.server.detached import DetachedProcess
from nimctl.server.engine_process import Phase, StartTimes
from nimctl.server.gateway import (
    AccessRecord,
    ApiKey,
    Cors,
    GatewayConfig,
    ServedModel,
    TlsFiles,
)
from nimctl.server.notify import notify
from nimctl.server.serving import (
    Listening,
    PhaseReached,
    Ready,
    ServeEvent,
    ServeRequest,
    Stopping,
    serve_model,
)

__all__ = [
    "AccessRecord",
    "ApiKey",
    "ChildFailedError",
    "Cors",
    "DetachedProcess",
    "GatewayConfig",
    "Listening",
    "Phase",
    "PhaseReached",
    "Ready",
    "ServeEvent",
    "ServeRequest",
    "ServedModel",
    "StartTimes",
    "Stopping",
    "TlsFiles",
    "notify",
    "serve_model",
    "served_by_child",
]
