"""What a check says after several runs: one failure alone need not make an instance critical."""

from dataclasses import dataclass, replace
from typing import Final

from pointsman.agent.definition import CheckDefinition, Status

MOST_OUTPUT: Final = 4096
"""Characters of the output of a check that are kept, as in Consul."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a check, and what it printed."""

    status: Status
    output: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says: its status, its last output, and the results in a row that did not change it yet.

    `status` is None until it is known: then nothing is said of the instance, and what was said before an agent
    restarted stands. `critical_since` is when it became critical, in seconds of the agent's own clock; None while it is
    not.
    """

    status: Status | None
    output: str = ""
    successes: int = 0
    failures: int = 0
    critical_since: float | None = None


def begin(definition: CheckDefinition, now: float) -> Verdict:
    """The verdict before the first run: unknown, unless the definition says what it is."""
    return Verdict(definition.status, critical_since=now if definition.status == "critical" else None)


def after(verdict: Verdict, result: Result, definition: CheckDefinition, now: float) -> Verdict:
    """`verdict` after one more run.

    As in Consul's agent (https://developer.hashicorp.com/consul/docs/services/usage/checks): a status gets better after
    `success_before_passing` runs in a row, becomes a warning after `failures_before_warning` failures in a row, and
    critical after `failures_before_critical`. A warning counts as a success.
    """
    is_success = result.status != "critical"
    successes = verdict.successes + 1 if is_success else 0
    failures = 0 if is_success else verdict.failures + 1
    critical_at = max(definition.failures_before_critical, 1)
    warning_at = definition.failures_before_warning or critical_at
    status = verdict.status
    if is_success:
        if successes >= definition.success_before_passing:
            status = result.status
    elif failures >= critical_at:
        status = "critical"
    elif failures >= warning_at:
        status = "warning"
    # The output often differs from run to run. It is told of once for each status.
    output = result.output[:MOST_OUTPUT] if status != verdict.status or not verdict.output else verdict.output
    counted = replace(verdict, output=output, successes=successes, failures=failures)
    if status != "critical":
        return replace(counted, status=status, critical_since=None)
    since = verdict.critical_since if verdict.critical_since is not None else now
    return replace(counted, status=status, critical_since=since)
