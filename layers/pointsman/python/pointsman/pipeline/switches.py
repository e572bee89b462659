"""Switches: what whoever watches a process is told of, as its engine computes clusters."""

from dataclasses import dataclass
from typing import Protocol

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.model.cause import Cause
from pointsman.pipeline.config import Root
from pointsman.xds.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Switch:
    """A cluster whose active target changed `before` to `after` (ids of targets).

    `service` (NAMESPACE/NAME) is that of the cluster's first target, `datacenter` that of the callers. `why` is the
    sentence that says why the target was chosen, `cause` what happened.
    """

    service: str
    datacenter: str
    cluster: str
    before: str
    after: str
    why: str
    cause: Cause
    version: int

    @property
    def line(self) -> str:
        """One line for people."""
        caused = f"; because of {self.cause.text}" if self.cause.text else ""
        return (
            f"switched: {self.service} for callers in {self.datacenter} goes from {self.before} to {self.after}: "
            f"{self.why}{caused}"
        )

    def fields(self) -> dict[str, str | int]:
        """The same for programs: plain JSON values, by name. (`service` is who writes the line.)"""
        return {
            "upstream": self.service,
            "datacenter": self.datacenter,
            "cluster": self.cluster,
            "from": self.before,
            "to": self.after,
            "why": self.why,
            "cause": cause_name(self.cause),
            "cause_id": self.cause.id,
            "cause_text": self.cause.text,
            "version": self.version,
        }


def cause_name(cause: Cause) -> str:
    """The kind of a cause as a word: "unknown" where nothing was noted."""
    return cause.kind.value or "unknown"


def active_of(snapshot: Snapshot | None) -> str:
    """The id of the target that serves according to a head, "" without one."""
    return "" if snapshot is None or snapshot.retired else snapshot.content.active


def switch_from(before: str, plan: Plan, after: Snapshot) -> Switch | None:
    """The switch from the target `before` to that of a snapshot of `plan`; None if it is the same, or if there was none
    before ("")."""
    if not before or before == after.content.active or after.retired or not isinstance(plan, SidecarPlan):
        return None
    return Switch(
        str(plan.targets[0].target.name),
        plan.datacenter,
        plan.cluster_id,
        before,
        after.content.active,
        after.content.sentence,
        after.switch,
        after.version,
    )


class Witness(Protocol):
    """Is told what an engine computes and reads, before the notices of it are sent. Must not raise, nor wait.

    Several threads may call it.
    """

    def saw(self, plan: Plan, before: Snapshot | None, after: Snapshot) -> None:
        """The head of `plan`, which covers what the engine read, and the one that it found `before` (None if there was
        none): the same if that stood."""
        ...

    def took(self, root: Root) -> None:
        """Another generation of the config."""
        ...

    def retired(self, plan_key: str) -> None:
        """The head of a plan that the config has no more."""
        ...


class NoWitness:
    """Nobody watches."""

    def saw(self, plan: Plan, before: Snapshot | None, after: Snapshot) -> None:
        """Nothing."""

    def took(self, root: Root) -> None:
        """Nothing."""

    def retired(self, plan_key: str) -> None:
        """Nothing."""
