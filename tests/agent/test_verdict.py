"""What a check says after several runs, as Consul's agent counts."""

import pytest
from pointsman.agent.definition import CheckDefinition
from pointsman.agent.verdict import Result, Verdict, after, begin

RUNS = {"p": "passing", "w": "warning", "c": "critical"}


def statuses(definition: CheckDefinition, runs: str) -> str:
    """The status after each of the `runs`, by its first letter; a dash while it is unknown."""
    verdict, said = begin(definition, 0.0), ""
    for number, run in enumerate(runs):
        verdict = after(verdict, Result(RUNS[run], ""), definition, float(number))  # type: ignore[arg-type]
        said += (verdict.status or "-")[0]
    return said


@pytest.mark.parametrize(
    ("settings", "runs", "said"),
    [
        ({}, "pcpwc", "pcpwc"),
        ({"failures_before_critical": 3}, "pccpcccp", "ppppppcp"),
        ({"failures_before_critical": 3, "failures_before_warning": 1}, "pcccp", "pwwcp"),
        ({"success_before_passing": 2}, "pcppcpp", "-ccpccp"),
        ({"success_before_passing": 2, "status": "passing"}, "cpp", "ccp"),
        ({"status": "critical"}, "p", "p"),
        ({"failures_before_critical": 2}, "cc", "-c"),
    ],
)
def test_a_status_changes_after_so_many_runs_in_a_row(settings: dict[str, object], runs: str, said: str) -> None:
    assert statuses(CheckDefinition.model_validate({"tcp": "a:1", **settings}), runs) == said


def test_since_when_it_is_critical_and_one_output_for_each_status() -> None:
    definition = CheckDefinition(tcp="a:1")
    verdict = Verdict(None)
    for now, output in enumerate(("one", "two", "three")):
        verdict = after(verdict, Result("critical", output), definition, float(now))
    assert (verdict.critical_since, verdict.output) == (0.0, "one")
    verdict = after(verdict, Result("passing", "four"), definition, 9.0)
    assert (verdict.critical_since, verdict.output) == (None, "four")
