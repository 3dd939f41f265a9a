"""A running model: a supervised engine process behind an OpenAI-compatible gateway."""

from nimctl.server.child import ChildFailedError, served_by_child
from nimctl.server.detached import DetachedProcess
from nimctl.server.engine_process import EngineMemory, StartTimes
from nimctl.server.gateway import (
    AccessRecord,
    ApiKey,
    Cors,
    GatewayConfig,
    GpuFigures,
    ServedModel,
    TlsFiles,
    TraceTarget,
    Tracing,
)
from nimctl.server.gateway.engine_call import (
    EngineAnswer,
    TokenQuestion,
    by_chat,
    by_completion,
)
from nimctl.server.needed_files import NeededFiles
from nimctl.server.notify import notify
from nimctl.server.outside import OutsideEngine, OutsideRequest, find_outside
from nimctl.server.restarts import RestartLimits
from nimctl.server.serving import (
    Listening,
    Ready,
    ReadyAgain,
    ServeEvent,
    ServeRequest,
    Stopping,
    serve_model,
)
from nimctl.server.session import HeldMemory
from nimctl.server.start_watch import PhaseAdvanced, PhaseReached
from nimctl.server.supervisor import AnswersAgain, NotReady, Restarting
from nimctl.server.watch import WatchLimits, choose_idle_token_s

__all__ = [
    "AccessRecord",
    "AnswersAgain",
    "ApiKey",
    "ChildFailedError",
    "Cors",
    "DetachedProcess",
    "EngineAnswer",
    "EngineMemory",
    "GatewayConfig",
    "GpuFigures",
    "HeldMemory",
    "Listening",
    "NeededFiles",
    "NotReady",
    "OutsideEngine",
    "OutsideRequest",
    "PhaseAdvanced",
    "PhaseReached",
    "Ready",
    "ReadyAgain",
    "RestartLimits",
    "Restarting",
    "ServeEvent",
    "ServeRequest",
    "ServedModel",
    "StartTimes",
    "Stopping",
    "TlsFiles",
    "TokenQuestion",
    "TraceTarget",
    "Tracing",
    "WatchLimits",
    "by_chat",
    "by_completion",
    "choose_idle_token_s",
    "find_outside",
    "notify",
    "serve_model",
    "served_by_child",
]
