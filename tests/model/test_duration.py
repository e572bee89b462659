"""Durations: Go's, whole nanoseconds, and nothing that was surely meant otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.model.duration import LONGEST_MS, parse_duration
from pointsman.model.entries import entry_json, parse_entry
from pointsman.model.errors import InvalidInput

MILLISECOND = 1_000_000

TAKEN: list[tuple[Any, int]] = [
    (0, 0), ("0", 0), ("0s", 0), (MILLISECOND, MILLISECOND), (30_000_000_000, 30_000_000_000), ("30s", 30_000_000_000),
    ("250ms", 250_000_000), ("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000), ("30ns", 30), ("1.5us", 1500),
]  # fmt: skip


@pytest.mark.parametrize(("written", "nanoseconds"), TAKEN)
def test_a_duration_is_taken_and_read_back_as_it_is(written: Any, nanoseconds: int) -> None:
    assert parse_duration(written) == nanoseconds
    entry = parse_entry({"Kind": "service-resolver", "Name": "web", "RequestTimeout": written})
    assert parse_entry(entry_json(entry)) == entry


HINTS: list[tuple[Any, str]] = [
    (30, "30 is 30 nanoseconds; write 30s"),
    (1, "1 is 1 nanoseconds; write 1s"),
    (250, "250 is 250 nanoseconds; write 250s or 250ms"),
    (999_999, "999999 is 999999 nanoseconds; write 999999s or 999999ms"),
    (2.5, "2.5 has no unit; write 2.5s"),
    (30.0, "30 has no unit; write 30s"),
    ("30", '"30" has no unit; write 30s'),
    (" 5000 ", '" 5000 " has no unit; write 5000s or 5000ms'),
    ("1.5", '"1.5" has no unit; write 1.5s'),
]


@pytest.mark.parametrize(("written", "reason"), HINTS)
@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("ConnectTimeout", lambda written: {"Kind": "service-resolver", "ConnectTimeout": written}),
        ("RequestTimeout", lambda written: {"Kind": "service-resolver", "RequestTimeout": written}),
        (
            "LoadBalancer.HashPolicies[0].CookieConfig.TTL",
            lambda written: {
                "Kind": "service-resolver",
                "LoadBalancer": {
                    "Policy": "maglev",
                    "HashPolicies": [{"Field": "cookie", "FieldValue": "c", "CookieConfig": {"TTL": written}}],
                },
            },
        ),
        (
            "Routes[0].Destination.RequestTimeout",
            lambda written: {"Kind": "service-router", "Routes": [{"Destination": {"RequestTimeout": written}}]},
        ),
    ],
)
def test_a_number_without_a_unit_is_refused_with_what_was_meant(
    field: str, document: Any, written: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_entry({"Name": "web", **document(written)})
    assert [(each.field, each.reason) for each in refused.value.problems] == [(field, reason)]


@given(
    st.integers()
    | st.floats()
    | st.text("0123456789.-+ nsumh\u0660\ud800")
    | st.booleans()
    | st.just(10**5000)
    | st.just("9" * 5000)
    | st.just([[]])
)
def test_whatever_is_written_is_a_usable_duration_or_a_reason(written: Any) -> None:
    try:
        nanoseconds = parse_duration(written)
    except ValueError as error:
        reason = str(error)
    else:
        reason = "none"
        assert abs(nanoseconds) <= LONGEST_MS * MILLISECOND
        assert isinstance(written, str) or nanoseconds <= 0 or nanoseconds >= MILLISECOND
    assert 0 < len(reason) < 300
