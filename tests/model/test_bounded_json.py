"""JSON from outside: what is read, what is refused, and what a refusal costs."""

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.model.bounded_json import MOST_DEPTH, MOST_VALUES, read_json
from pointsman.model.errors import InvalidInput

MOST = 1024 * 1024

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@given(VALUES, st.booleans())
def test_what_json_can_say_is_read(value: Any, unique_keys: bool) -> None:
    text = json.dumps(value)
    assert read_json(text, "it", most_bytes=MOST, unique_keys=unique_keys) == value
    assert read_json(orjson.dumps(value), "it", most_bytes=MOST, unique_keys=unique_keys) == value


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "1" + "]}" * (depth // 2)


def test_at_every_bound_it_is_read_and_beyond_it_is_refused() -> None:
    read_json(nested(MOST_DEPTH), "it", most_bytes=MOST)
    read_json("[" + "0," * (MOST_VALUES - 3) + "0]", "it", most_bytes=MOST)
    read_json('"' + "x" * (MOST - 2) + '"', "it", most_bytes=MOST)
    # What looks like structure inside strings counts for nothing.
    read_json(json.dumps(['[{,\\"' * 100_000, "}" * 100]), "it", most_bytes=MOST)
    for text, reason in (
        (nested(MOST_DEPTH + 2), f"it: is nested too deeply: more than {MOST_DEPTH} levels"),
        ("[" * 500_000, f"it: is nested too deeply: more than {MOST_DEPTH} levels"),
        ('{"a":' * 200_000, f"it: is nested too deeply: more than {MOST_DEPTH} levels"),
        ("[" + "0," * MOST_VALUES + "0]", f"it: has too many values; {MOST_VALUES} are the most, split it"),
        ('"' + "x" * (MOST - 1) + '"', f"it: is longer than {MOST} bytes; split it"),
    ):
        with pytest.raises(InvalidInput) as refused:
            read_json(text, "it", most_bytes=MOST)
        assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "line 1: is not JSON: Input is a zero-length, empty document (column 1)"),
        ("}{" * 1000, "line 1: is not JSON: unexpected character, expected a JSON value (column 1)"),
        ('"' * 1001, "line 1: is not JSON: unexpected content after document (column 3)"),
        ("[\n1,\n]", "line 2: is not JSON: trailing comma is not allowed (column 2)"),
        ("1" * 5000, "line 1: is not JSON: number is infinity when parsed as double (column 1)"),
        ("-1e999", "line 1: is not JSON: number is infinity when parsed as double (column 1)"),
        ("NaN", "line 1: is not JSON: unexpected character, expected a JSON value (column 1)"),
        ('"\\ud800"', "line 1: is not JSON: no low surrogate in string (column 2)"),
        ('"\ud800"', "is not UTF-8 (at 1); save it as that"),
        (b'"\xff"', "is not UTF-8 (at 1); save it as that"),
        ('"\0"', "line 1: is not JSON: unexpected control character in string (column 2)"),
        ('{"a": {"b": 1, "b": 2}}', 'the key "b" is given twice'),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(content: bytes | str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_json(content, "it", most_bytes=MOST, unique_keys=True)
    assert str(refused.value) == f"it: {reason}"


@pytest.mark.parametrize("unit", ["[],", "{},", "0,", '"",', '{"a":1},', "[" * 60 + "]" * 60 + ",", "1e3,"])
def test_what_is_read_takes_less_than_100_mb(unit: str) -> None:
    text = "[" + unit * (6 * MOST // len(unit)) + "0]"
    tracemalloc.start()
    try:
        read_json(text, "it", most_bytes=6 * MOST + 3, unique_keys=True)
    except InvalidInput:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000_000


def test_no_memory_is_no_fault_of_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(data: bytes) -> Any:
        raise orjson.JSONDecodeError("Not enough memory to allocate buffer for parsing", "", 0)

    monkeypatch.setattr(orjson, "loads", exhausted)
    with pytest.raises(MemoryError):
        read_json("[]", "it", most_bytes=MOST)
