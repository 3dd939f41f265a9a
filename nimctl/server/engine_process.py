"""One engine as a child process: started under a guard, watched until it answers, stopped whole."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nimctl.core.plan import Launch
from nimctl.core.startup import Phase
from nimctl.core.symptom import Diagnosis
from nimctl.errors import EngineError
from nimctl.server import guard
from nimctl.server.gateway.engine_call import (
    NoAnswerError,
    TokenQuestion,
    call_engine,
    generate_token,
)
from nimctl.server.last_words import describe_exit, explain, explain_end
from nimctl.server.log_follower import LogFollower
from nimctl.server.session import HeldMemory, Session
from nimctl.server.start_watch import StartEvent, StartWatch
from nimctl.server.strays import end_strays, new_mark

_POLL_S = 0.1
_CALL_TIMEOUT_S = 5.0
_STOP_MARGIN_S = 5.0
# A connection breaks a little before its engine is seen to have ended.
_LAST_BREATH_S = 1.0
_NO_TOKEN = "the engine listens but cannot generate a token"  # noqa: S105 - no password

# What an engine may inherit. Tokens and keys are never among it.
_INHERITED = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|TZ|TMPDIR|SHELL|VIRTUAL_ENV|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH"
    r"|LC_.*|XDG_.*|CUDA_.*|NVIDIA_.*|NCCL_.*|UCX_.*|OMP_.*|OMPI_.*|MKL_.*|TORCH.*|TRITON_.*"
    r"|VLLM_.*|FLASHINFER_.*|TRTLLM_.*|TLLM_.*|LLAMA_ARG_.*|GGML_.*|NUMBA_.*|PYTHONUTF8|SSL_CERT_.*"
)
_SECRET = re.compile(r".*(TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL).*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartTimes:
    """How long a start took, in seconds: until the port answered, and the first token after.

    Attributes:
        phases_s: The same time by phase.
    """

    load_s: float
    first_token_s: float
    phases_s: Mapping[Phase, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineMemory:
    """What an engine holds after its first token.

    Attributes:
        pids: Its processes; none where nobody tells.
        lines: What its own log tells of its memory.
        host: Of the host's memory; None where nobody tells.
    """

    pids: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    host: HeldMemory | None = None


def minimal_environment(environment: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The variables an engine gets: what it may need of ours, no secrets, and the launch's own."""
    inherited = {
        name: value
        for name, value in environment.items()
        if _INHERITED.fullmatch(name) and not _SECRET.fullmatch(name)
    }
    return {**inherited, **added}


class EngineProcess:
    """An engine process from its start to its end; one that is started again is another object.

    Args:
        launch: What to start.
        environment: Our own variables, of which the engine gets a few.
        log_path: Where its output goes; the folder must exist.
        state_dir: Removed by the guard when the engine has ended, even after a SIGKILL of nimctl.
        weights: Sizes of the files it reads, by path, links resolved.
        log_bytes: The log is set aside, and a new one begun, when it has grown to this.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        environment: Mapping[str, str],
        log_path: Path,
        state_dir: Path,
        weights: Mapping[str, int] | None = None,
        log_bytes: int = guard.LOG_BYTES,
    ) -> None:
        self._launch = launch
        self._mark = new_mark()
        self._environment = minimal_environment(environment, {**launch.env, **dict([self._mark])})
        self._log_path = log_path
        self._log_bytes = log_bytes
        self._state_dir = state_dir
        self._weights = weights or {}
        self._log = LogFollower(log_path)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log_path(self) -> Path:
        """Where its output goes."""
        return self._log_path

    async def start(self) -> None:
        """Start the process; what it needs to find on disk is written first.

        Raises:
            EngineError: that cannot be written.
        """
        try:
            self._prepare_state_dir()
        except OSError as error:
            message = f"the engine's folder {self._state_dir} cannot be written: {error.strerror}"
            raise EngineError(message) from error
        # By its path: as a module it would bring the whole gateway along. What goes wrong in the
        # guard itself must be found somewhere.
        program = (sys.executable, "-P", "-S", guard.__file__)
        log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *program,
                "--log", str(self._log_path),
                "--log-bytes", str(self._log_bytes),
                "--cleanup", str(self._state_dir),
                *self._describe_afterwards(),
                "--", *self._launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # a Ctrl-C in the terminal is ours to pass on
            )  # fmt: skip
        finally:
            os.close(log)

    def _describe_afterwards(self) -> tuple[str, ...]:
        afterwards = self._launch.afterwards
        return ("--afterwards", json.dumps(afterwards)) if afterwards else ()

    def _prepare_state_dir(self) -> None:
        """Make the folder anew where the last guard removed it, and nothing stale in it.

        vLLM waits two minutes for the socket of a dead one, and then fails.
        """
        if not self._state_dir.exists():
            self._state_dir.mkdir(mode=0o700)
        if self._launch.address.uds is not None:
            Path(self._launch.address.uds).unlink(missing_ok=True)
        for path, text in self._launch.files.items():
            Path(path).write_text(text)

    async def wait_until_ready(
        self,
        question: TokenQuestion,
        *,
        no_progress_s: float,
        on_event: Callable[[StartEvent], None],
    ) -> tuple[StartTimes, EngineMemory]:
        """Wait until the engine has generated a token; tells what that took.

        Args:
            question: What it is asked a token by.
            no_progress_s: Give up when nothing has moved for so long, see `Movement`.

        Raises:
            EngineError: it died, got nowhere, cannot generate, or uses no GPU although it must.
        """
        began = time.monotonic()
        session = self.open_session()
        watch = StartWatch(
            signs=self._launch.signs,
            log=self._log,
            session=session,
            weights=self._weights,
            on_event=on_event,
        )
        while not await self._answers():
            if self._has_ended():
                raise self.explain_end()
            await self._look(watch, no_progress_s, "the engine is not ready, and")
            await asyncio.sleep(_POLL_S)
        await watch.look()
        loaded = time.monotonic()
        watch.enter(Phase.WARMING)
        await self._warm_up(question, watch, no_progress_s)
        first_token_s = time.monotonic() - loaded
        watch.enter(Phase.READY)
        await watch.look()
        self._require_gpu(watch)
        times = StartTimes(
            load_s=loaded - began, first_token_s=first_token_s, phases_s=watch.durations_s
        )
        memory = EngineMemory(lines=tuple(watch.memory_lines))
        if session is not None:
            memory = replace(
                memory,
                pids=tuple(session.list_pids()),
                host=await asyncio.to_thread(session.read_memory),
            )
        return times, memory

    async def _look(self, watch: StartWatch, no_progress_s: float, fault: str) -> None:
        await watch.look()
        self._require_gpu(watch)
        stall = watch.find_stall(no_progress_s)
        if stall is not None:
            raise EngineError(
                f"{fault} {stall}",
                hint=f"its log is {self._log_path}; NIMCTL_START_TIMEOUT_S waits longer",
            )

    def _require_gpu(self, watch: StartWatch) -> None:
        """Give up where the engine uses no GPU although it must."""
        symptom = self._launch.fell_to_cpu
        if symptom is None:
            return
        fall = watch.find_fall()
        if fall is not None:
            raise explain(Diagnosis(symptom=symptom, detail=fall.detail))

    async def _answers(self) -> bool:
        launch = self._launch
        try:
            answer = await call_engine(launch.address, launch.ready_path, timeout_s=_CALL_TIMEOUT_S)
        except NoAnswerError:
            return False
        return answer.status == 200

    async def _warm_up(
        self, question: TokenQuestion, watch: StartWatch, no_progress_s: float
    ) -> None:
        asking = asyncio.ensure_future(
            generate_token(self._launch.address, question, timeout_s=None)
        )
        try:
            while not asking.done():
                await self._look(watch, no_progress_s, f"{_NO_TOKEN}: it")
                await asyncio.wait({asking}, timeout=_POLL_S)
            fault = asking.result()
        except NoAnswerError as error:
            if await self._ends_within(_LAST_BREATH_S):
                raise self.explain_end() from error
            fault = str(error)
        finally:
            asking.cancel()
        if fault:
            raise EngineError(
                f"{_NO_TOKEN}: {fault}",
                hint=f"its log is {self._log_path}",
            )

    async def wait(self) -> None:
        """Wait for the engine to end."""
        await self._running().wait()

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)
        return self._has_ended()

    async def stop(self, *, grace_s: float) -> None:
        """End all of its processes: politely, after `grace_s` seconds by force."""
        self._signal_guard(signal.SIGTERM)
        await self._bury(grace_s + _STOP_MARGIN_S)

    async def kill(self) -> None:
        """End all of its processes by force."""
        self.hurry()
        await self._bury(_STOP_MARGIN_S)

    def hurry(self) -> None:
        """Let `stop` wait no longer for a polite end."""
        self._signal_guard(signal.SIGINT)

    def _signal_guard(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _bury(self, timeout_s: float) -> None:
        """Wait until the guard has ended; what it could not end is ended from here."""
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
        if process.stdin:
            process.stdin.close()
        if process.returncode is not None and process.returncode < 0:
            await asyncio.to_thread(end_strays, self._mark)

    def open_session(self) -> Session | None:
        """Tells what its processes take, all of the guard's session; None of a container's."""
        return Session(self._running().pid) if self._launch.is_ours else None

    def describe_end(self) -> str:
        """How the engine ended, without its words: fit for clients."""
        return f"The engine {describe_exit(self._running().returncode)}."

    def explain_end(self) -> EngineError:
        """Why the engine ended, from its exit code and the end of its log."""
        return explain_end(self._running().returncode, self._log_path, self._launch.symptoms)

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process

    def _has_ended(self) -> bool:
        return self._running().returncode is not None
