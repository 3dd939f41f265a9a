"""Machines, selections and plans as JSON documents; a key that is absent is unknown."""

from dataclasses import asdict
from typing import Any

from nimctl.cli.facts import Machine, describe_engines
from nimctl.cli.terminal import drop_unknown
from nimctl.core.hardware import hardware_to_json
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.plan import Plan
from nimctl.core.speed import SpeedFigure
from nimctl.core.verdict import Finding, Selection, Verdict, explain_first
from nimctl.core.wish import format_change


def machine_document(machine: Machine) -> dict[str, Any]:
    """The machine: hardware as a snapshot keeps it, and engines."""
    return {
        "hardware": hardware_to_json(machine.hardware),
        "engines": describe_engines(machine.engines),
    }


def profile_document(profile: Profile) -> dict[str, Any]:
    """A profile under the field names of NIM's metadata API."""
    return drop_unknown(
        {
            "profile_id": profile.id,
            "description": profile.description,
            "inference_backend": profile.engine,
            "precision": profile.precision,
            "tensor_parallel_size": profile.tensor_parallel,
            "pipeline_parallel_size": profile.pipeline_parallel,
            "goal": profile.goal,
            "feat_lora": profile.lora,
            "gpu": profile.gpu,
            "gpu_device": profile.gpu_device,
            "source": str(profile.artifact.source),
            "download_bytes": profile.artifact.download_bytes,
        }
    )


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan: device, context, and memory per device in bytes."""
    budget = plan.budget
    return {
        "device": plan.device,
        "gpus": [drop_unknown({"index": g.index, "uuid": g.uuid}) for g in plan.gpus],
        "context_length": plan.context_length,
        "concurrency": plan.sequences,
        "memory_per_device": drop_unknown(
            {
                "weights_bytes": budget.weights,
                "kv_cache_bytes": budget.kv_cache,
                "activations_bytes": budget.activations,
                "graphs_bytes": budget.graphs,
                "communication_bytes": budget.communication,
                "context_bytes": budget.context,
                "lora_bytes": budget.lora,
                "needed_bytes": budget.needed,
                "needed_low_bytes": budget.low,
                "needed_high_bytes": budget.high,
                "margin_bytes": budget.margin,
                "free_bytes": plan.free_bytes,
                "measured_bytes": budget.measured,
                "calibrated_by_starts": budget.calibrated_by or None,
            }
        ),
    }


def speed_document(speed: SpeedFigure) -> dict[str, Any]:
    """A speed with where it comes from, and the traffic it is told for."""
    return drop_unknown(
        {
            "origin": speed.origin,
            "source": speed.source,
            "time_to_first_token_s": speed.time_to_first_token_s,
            "inter_token_latency_s": speed.inter_token_latency_s,
            "tokens_per_second": speed.tokens_per_second,
            "traffic": asdict(speed.traffic),
        }
    )


def verdict_document(verdict: Verdict, selection: Selection) -> dict[str, Any]:
    """A judged profile: its fit, all its objections, its rank, its plan."""
    return drop_unknown(
        {
            **profile_document(verdict.profile),
            "fit": verdict.fit.name.lower(),
            "findings": [_finding_document(f, selection) for f in verdict.findings],
            "rank": verdict.rank._asdict(),
            "plan": plan_document(verdict.plan) if verdict.plan else None,
            "speed": speed_document(verdict.speed),
        }
    )


def _finding_document(finding: Finding, selection: Selection) -> dict[str, Any]:
    retry = finding.retry
    return drop_unknown(
        {
            "check": finding.check,
            "fit": finding.fit.name.lower(),
            "message": finding.message,
            "need": finding.need,
            "have": finding.have,
            "hint": finding.hint,
            "try": format_change(selection.wish, retry) if retry else None,
            "or": [format_change(selection.wish, one) for one in finding.alternatives] or None,
        }
    )


def selection_document(selection: Selection) -> dict[str, Any]:
    """A whole selection, best first, with what decided between first and second."""
    chosen, runner_up = selection.chosen, selection.runner_up
    decision = explain_first(selection)
    return drop_unknown(
        {
            "schema": "nimctl-selection/1",
            "model": selection.model,
            "chosen": chosen.profile.id if chosen else None,
            "runner_up": runner_up.profile.id if runner_up else None,
            "decided_by": (
                {"field": decision.field, "reason": decision.sentence} if decision else None
            ),
            "passed_over": selection.passed_over.profile.id if selection.passed_over else None,
            "profiles": [verdict_document(v, selection) for v in selection.verdicts],
        }
    )


def model_document(manifest: Manifest, selection: Selection) -> dict[str, Any]:
    """One model of the catalogue, with its best profile for the machine."""
    chosen = selection.chosen
    return drop_unknown(
        {
            "model": manifest.model,
            "title": manifest.title,
            "kind": manifest.kind,
            "licence": manifest.licence,
            "gated": manifest.gated,
            "parameters": manifest.shape.parameters,
            "max_context_length": manifest.shape.max_context_length,
            "profiles": len(manifest.profiles),
            "best": profile_document(chosen.profile) if chosen else None,
        }
    )


def listing_document(
    machine: Machine, judged: tuple[tuple[Manifest, Selection], ...], *, one_model: bool
) -> dict[str, Any]:
    """The machine, with all profiles of one model or with every model of the catalogue."""
    if one_model:
        return machine_document(machine) | selection_document(judged[0][1])
    return machine_document(machine) | {"models": [model_document(m, s) for m, s in judged]}
