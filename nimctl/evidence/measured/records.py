"""What was found out by running a profile: on which machine, how fast, in how much memory."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nimctl.core.hardware import Gpu, Hardware
from nimctl.core.percentiles import Percentiles
from nimctl.core.plan import Device, Plan
from nimctl.core.speed import SpeedFigure, Traffic

if TYPE_CHECKING:
    from nimctl.core.report import BenchReport

MOST_FAILED = 0.01
"""Share of requests that may fail in a run that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What ran, where, and when.

    Attributes:
        at_unix_s: Seconds since 1970.
        profile: The profile's description.
        fingerprint: Of the machine, see `fingerprint_machine`.
        device: What computed.
        device_name: Its name and, of GPUs, how many: `2 x NVIDIA H100 80GB HBM3`.
        threads: CPU threads the engine computed with.
        driver: NVIDIA driver; None without one.
        context_length: Tokens one sequence could hold.
        sequences: Sequences of that length there was room for.
        kv_precision: What keys and values were kept in; None is the engine's default.
    """

    at_unix_s: float
    nimctl_version: str
    model: str
    profile_id: str
    profile: str
    engine: str
    engine_version: str | None
    fingerprint: str
    device: Device
    device_name: str
    threads: int
    driver: str | None
    context_length: int
    sequences: int
    kv_precision: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRecord:
    """One bench of a served profile; figures only, never a prompt or an answer.

    Attributes:
        id: Its number in the store; 0 before it is kept.
        prompt_tokens: Of the request in the middle.
        output_tokens: Of an answer on average.
        tokens_per_second: Output tokens of all requests together.
        time_to_first_token: In milliseconds.
        inter_token_latency: In milliseconds.
        user_tokens_per_second: Of one request.
    """

    id: int = 0
    subject: Subject
    concurrency: int
    prompt_tokens: int
    output_tokens: int
    requests: int
    duration_s: float
    tokens_per_second: float
    time_to_first_token: Percentiles
    inter_token_latency: Percentiles | None
    user_tokens_per_second: Percentiles | None

    @property
    def traffic(self) -> Traffic:
        """What it was measured under."""
        return Traffic(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            concurrency=self.concurrency,
        )

    def to_figure(self, origin: Literal["measured here", "measured elsewhere"]) -> SpeedFigure:
        """The middle of what was measured."""
        between = self.inter_token_latency
        return SpeedFigure(
            traffic=self.traffic,
            time_to_first_token_s=self.time_to_first_token.p50 / 1000,
            inter_token_latency_s=between.p50 / 1000 if between else None,
            tokens_per_second=self.tokens_per_second,
            origin=origin,
            source=f"bench {self.id}, {self.subject.engine} "
            f"{self.subject.engine_version or 'of unknown version'} on {self.subject.device_name}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRecord:
    """What a started engine took of one part of its memory, beside what was predicted.

    Attributes:
        id: Its number in the store; 0 before it is kept.
        part: A part of `MemoryBudget`, e.g. `kv_cache`, or `needed` for all of them.
        predicted_bytes: On each device.
        actual_bytes: The engine's own figure for the fullest device.
    """

    id: int = 0
    subject: Subject
    part: str
    predicted_bytes: int
    actual_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StartRecord:
    """How long an engine's start took, from its process to the first token.

    Attributes:
        id: Its number in the store; 0 before it is kept.
        phases_s: Seconds of each phase, by its name.
    """

    id: int = 0
    subject: Subject
    phases_s: dict[str, float]


def fingerprint_machine(hardware: Hardware) -> str:
    """16 hex digits that are the same for machines on which the same speed is to be expected.

    Made of the kinds of all GPUs, the driver, the processor and how many of it may be used; of no
    serial number, name or address, so that it tells nothing else about the machine.
    """
    host = hardware.host
    facts = {
        "gpus": sorted(
            f"{gpu.name} {gpu.pci_device_id} {gpu.mig_enabled}" for gpu in hardware.gpus
        ),
        "driver": hardware.driver_version,
        "cpu": host.cpu_name,
        "architecture": host.architecture,
        "usable_cpus": host.usable_cpus,
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def name_device(gpus: tuple[Gpu, ...], hardware: Hardware) -> str:
    """The GPUs, or without any the processor, by kind and number."""
    if not gpus:
        return hardware.host.cpu_name or hardware.host.architecture
    names = sorted({gpu.name or "unknown GPU" for gpu in gpus})
    return f"{len(gpus)} x {' and '.join(names)}"


def make_subject(
    plan: Plan,
    hardware: Hardware,
    *,
    engine_version: str | None,
    at_unix_s: float,
    nimctl_version: str,
) -> Subject:
    """What a plan is on record as."""
    return Subject(
        at_unix_s=at_unix_s,
        nimctl_version=nimctl_version,
        model=plan.model,
        profile_id=plan.profile.id,
        profile=plan.profile.description,
        engine=plan.profile.engine,
        engine_version=engine_version,
        fingerprint=fingerprint_machine(hardware),
        device=plan.device,
        device_name=name_device(plan.gpus, hardware),
        threads=plan.threads,
        driver=hardware.driver_version,
        context_length=plan.context_length,
        sequences=plan.sequences,
        kv_precision=plan.kv_precision,
    )


def find_unfit(report: "BenchReport") -> str | None:
    """Why a report is no evidence of a speed, or None where it is."""
    good, failed = report.request_count.avg, report.error_request_count.avg
    if report.is_interrupted:
        return "the run was interrupted"
    if not good or report.time_to_first_token is None:
        return "no request succeeded"
    if failed / (good + failed) > MOST_FAILED:
        return f"{failed:.0f} of {good + failed:.0f} requests failed"
    if report.client.verdict != "client ok":
        return "the client itself was the bottleneck"
    return None


def record_report(subject: Subject, report: "BenchReport") -> BenchRecord:
    """What is kept of a report that `find_unfit` has nothing against."""
    if report.time_to_first_token is None:
        raise AssertionError("a report without a first token is unfit")
    prompts, answers = report.input_sequence_length, report.output_sequence_length
    return BenchRecord(
        subject=subject,
        concurrency=report.load.concurrency,
        prompt_tokens=round(prompts.p50 if prompts else report.load.input_tokens),
        output_tokens=round(answers.avg if answers else report.load.output_tokens),
        requests=round(report.request_count.avg),
        duration_s=report.benchmark_duration.avg,
        tokens_per_second=report.output_token_throughput.avg,
        time_to_first_token=report.time_to_first_token,
        inter_token_latency=report.inter_token_latency,
        user_tokens_per_second=report.output_token_throughput_per_user,
    )
