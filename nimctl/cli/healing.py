"""A start that failed in a known way is tried again with a smaller plan, a few times."""

from collections.abc import Callable
from dataclasses import dataclass

from nimctl.cli.choosing import Choice
from nimctl.cli.known_starts import keep_concession
from nimctl.core.healing import (
    MOST_NEW_PLANS,
    Concession,
    Concessions,
    Difference,
    Failure,
    compare_plans,
    list_concessions,
)
from nimctl.engines import TRAITS
from nimctl.errors import EngineError, NothingFitsError

ChooseAgain = Callable[[Concessions], Choice]
"""The choice for the machine as it is now, with what profiles do without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPlan:
    """What is tried after a failure.

    Attributes:
        symptom: Code of the failure.
        cause: It in one sentence.
        differences: In what the new plan differs from the one that failed.
        attempt: Which new plan it is, from 1 on.
    """

    symptom: str
    cause: str
    differences: tuple[Difference, ...]
    attempt: int


class Healing:
    """The plans of one start, each smaller than the one before.

    Args:
        choice: What is started first.
        choose_again: Makes the others.
        has_own_arguments: The user gave the engine arguments of its own: they are meant for the
            profile that was chosen, and make its plan no example for others.
    """

    def __init__(
        self, choice: Choice, choose_again: ChooseAgain, *, has_own_arguments: bool
    ) -> None:
        self.choice = choice
        self._choose_again = choose_again
        self._has_own_arguments = has_own_arguments
        self._failed: dict[str, tuple[Choice, Concession]] = {}
        self._attempt = 0

    def next_plan(self, error: EngineError) -> NewPlan:
        """Choose what is started in place of the choice that failed.

        Raises:
            EngineError: the failure, where nothing helps against it or enough was tried.
        """
        failed = self.choice
        given_up = failed.given_up.get(failed.plan.profile.id, Concession())
        failure = Failure(
            wish=failed.selection.wish,
            plan=failed.plan,
            given_up=given_up,
            symptom=error.symptom or "",
            cause=error.cause or error.message,
            detail=error.detail,
            may_run_eagerly=TRAITS[failed.installed.name].runs_eagerly,
            may_pass_over=not self._has_own_arguments,
        )
        for concession in list_concessions(failure) if self._attempt < MOST_NEW_PLANS else ():
            differences = self._try(failed, concession)
            if differences:
                self._attempt += 1
                return NewPlan(
                    symptom=failure.symptom,
                    cause=failure.cause,
                    differences=differences,
                    attempt=self._attempt,
                )
        raise self._give_up(error)

    def _try(self, failed: Choice, concession: Concession) -> tuple[Difference, ...]:
        """In what the plan that this leads to differs; nothing where there is none."""
        profile_id = failed.plan.profile.id
        try:
            choice = self._choose_again({**failed.given_up, profile_id: concession})
        except NothingFitsError:
            return ()
        differences = compare_plans(failed.plan, choice.plan)
        if differences:
            self.choice = choice
            self._failed[profile_id] = (failed, concession)
        return differences

    def _give_up(self, error: EngineError) -> EngineError:
        if not self._attempt:
            return error
        plans = "another plan" if self._attempt == 1 else f"{self._attempt} other plans"
        return EngineError(
            f"{error.message}; {plans} had been tried", hint=error.hint, symptom=error.symptom
        )

    def keep(self) -> None:
        """Remember what helped, now that the model is ready."""
        if self._has_own_arguments:
            return
        for failed, concession in self._failed.values():
            before = failed.given_up.get(failed.plan.profile.id, Concession())
            if concession.gives_up_something and not concession.on_cpu:
                keep_concession(
                    failed.plan,
                    concession,
                    hardware=failed.hardware,
                    engine_version=failed.installed.version,
                    free_bytes=failed.plan.free_bytes + before.spare_bytes,
                )
        self._failed.clear()
