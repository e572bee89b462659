"""Malicious or meaningless config files: each is refused with a reason, quickly, and in little memory."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.model.canonical import canonical
from pointsman.model.entries import entry_json, key_of, parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import LARGEST_FILE_BYTES, load_bytes
from pointsman.pipeline.configure import Batch, parse_documents

from tests.share import share_of

MIB = 1024 * 1024
LETTERS = r"\pL{40}"
MOST_GROWTH = 100 * MIB
MOST_CPU_SECONDS = 5.0
"""A second on an idle machine; a busy one's caches make it more."""


def taken(content: bytes, name: str) -> Batch:
    """What every door does with a config file, up to the store. Raises InvalidInput."""
    batch = parse_documents(load_bytes(content, name))
    found = validate(EntrySet.of(batch.entries), [key_of(entry) for entry in batch.entries])
    if found:
        raise InvalidInput(found)
    return batch


def _entry(kind: str, **fields: Any) -> bytes:
    return json.dumps({"Kind": kind, "Name": "web", **fields}).encode()


def _route(regex: str) -> dict[str, Any]:
    return {"Match": {"HTTP": {"PathRegex": regex}}}


_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
_MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
_RESOLVER = 'Kind = "service-resolver"\nName = "web"\n'

HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    # what it is: (the file's name, what is in it, what the refusal says)
    "aliases of aliases": ("a.yaml", lambda: _LAUGHS.encode(), "has more than 100000 values"),
    "merges of merges": ("a.yaml", lambda: _MERGES.encode(), "has more than 100000 values"),
    "a list inside itself": ("a.yaml", lambda: b"&a [*a]", "*a contains itself"),
    "a mapping inside itself": ("a.yaml", lambda: b"a: &a {b: {<<: *a}}", "*a contains itself"),
    "deep YAML": ("a.yaml", lambda: b"[" * MIB, "is nested too deeply"),
    "deep block YAML": ("a.yaml", lambda: b"- " * MIB, "is nested too deeply"),
    "much YAML": ("a.yaml", lambda: b"[" + b"{}," * (MIB // 3) + b"]", "has more than 100000 values"),
    "many YAML documents": ("a.yaml", lambda: b"---\n{}\n" * (MIB // 7), "has more than 100000 values"),
    "a long YAML file": ("a.yaml", lambda: b"#" * (LARGEST_FILE_BYTES["YAML"] + 1), "the most for YAML"),
    "digits in YAML": ("a.yaml", lambda: b"a: " + b"9" * 5000, "a number that 64 bits do not hold"),
    "a large exponent in YAML": ("a.yaml", lambda: b"a: 1e999", "a number that 64 bits do not hold"),
    "half a pair in YAML": ("a.yaml", lambda: b'a: "\\ud800"', "not YAML"),
    "deep JSON": ("a.json", lambda: b"[" * MIB, "is nested too deeply"),
    "deep JSON objects": ("a.json", lambda: b'{"a":' * (MIB // 5), "is nested too deeply"),
    "much JSON": ("a.json", lambda: b"[" + b"{}," * (2 * MIB - 9) + b"{}]", "values; 500000 are the most"),
    "JSON documents that are none": ("a.json", lambda: b"[" + b"{}," * 200_000 + b"{}]", "50000 are the most"),
    "40,000 faults": ("a.json", lambda: b"[" + b'{"Kind":1},' * 40_000 + b"{}]", "more than these 100 problems"),
    "a long JSON file": ("a.json", lambda: b" " * (LARGEST_FILE_BYTES["JSON"] + 1), "is longer than"),
    "digits in JSON": ("a.json", lambda: b'{"Kind": ' + b"9" * 5000 + b"}", "infinity"),
    "half a pair in JSON": ("a.json", lambda: b'{"Kind": "\\ud800"}', "surrogate"),
    "NaN": ("a.json", lambda: b'{"Kind": NaN}', "is not JSON"),
    "no UTF-8": ("a.json", lambda: b'{"Kind": "\xff"}', "is not UTF-8 (byte 10)"),
    "UTF-16": ("a.json", lambda: '{"Kind": "x"}'.encode("utf-16"), "is not UTF-8 (byte 0)"),
    "NUL": ("a.yaml", lambda: b"Kind: service-resolver\nName: \0", "not YAML"),
    "quotes in HCL": ("a.hcl", lambda: b'\\"' * 100_000, "cannot be read as HCL|an expression"),
    "a text of quotes in HCL": ("a.hcl", lambda: b'Kind = "' + b'\\"' * 100_000, "the text ends too early"),
    "heredocs in HCL": ("a.hcl", lambda: b"a = <<A\n" * 100_000, "there is no line A"),
    "other heredocs in HCL": (
        "a.hcl", lambda: "".join(f"a{i} = <<A{i}\nA{i}\n" for i in range(40_000)).encode(), "entry: Kind: is required",
    ),
    "comments in HCL": ("a.hcl", lambda: b"/* " * 300_000, "a comment is not closed"),
    "templates in HCL": ("a.hcl", lambda: b'a = "' + b"${" * 100_000 + b'"', "${ is not closed"),
    "deep HCL": ("a.hcl", lambda: b"a = " + b"[" * 100_000, "is nested too deeply"),
    "deep HCL blocks": ("a.hcl", lambda: b"a {" * 100_000, "is nested too deeply"),
    "much HCL": ("a.hcl", lambda: b"a = [" + b"1," * 400_000 + b"]", "has more than 100000 values"),
    "a long HCL file": ("a.hcl", lambda: b"#" * (LARGEST_FILE_BYTES["HCL"] + 1), "the most for HCL"),
    "digits in HCL": ("a.hcl", lambda: b"a = " + b"9" * 5000, "a number with too many digits"),
    "more than 64 bits in HCL": ("a.hcl", lambda: b"a = 18446744073709551617", "is beyond 64 bits"),
    "half a pair in HCL": ("a.hcl", lambda: b'a = "\\ud800"', "is no character"),
    "splits without a weight": (
        "a.json", lambda: _entry("service-splitter", Splits=[{}] * 200_000), "has 200000 items, 1000 are the most",
    ),
    "values in one entry": (
        "a.json", lambda: _entry("service-router", Routes=[{"Match": {"HTTP": {"Methods": ["G"] * 100}}}] * 900),
        "has more than 30000 values",
    ),
    "a long name": ("a.json", lambda: _entry("service-resolver", DefaultSubset="x" * MIB), "65536 are the most"),
    "a failover to 2,000 datacenters": (
        "a.json",
        lambda: _entry("service-resolver", Failover={"*": {"Datacenters": [f"dc{i}" for i in range(2000)]}}),
        "has 2000 items, 1000 are the most",
    ),
    "a failover to 101 datacenters": (
        "a.json",
        lambda: _entry("service-resolver", Failover={"*": {"Datacenters": [f"dc{i}" for i in range(101)]}}),
        "has 101 targets, 100 are the most",
    ),
    "201 subsets": (
        "a.json", lambda: _entry("service-resolver", Subsets={f"v{i}": {} for i in range(201)}), "200 are the most",
    ),
    "large regular expressions": (
        "a.json",
        lambda: _entry("service-router", Routes=[_route(f"/{i}{LETTERS}") for i in range(900)]),
        "come to more than 100000 RE2 instructions",
    ),
    "3,000 redirects": (
        "a.json",
        lambda: json.dumps(
            [{"Kind": "service-resolver", "Name": f"s{i}", "Redirect": {"Service": f"s{i + 1}"}} for i in range(3000)]
        ).encode(),
        "follows more than 64 redirects",
    ),
}  # fmt: skip


def refusal_of(case: str) -> dict[str, Any]:
    """What a process of its own makes of a case: its refusal, the CPU seconds, and by how many bytes it grew."""
    name, content, _ = HOSTILE[case]
    made = content()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            taken(made, name)
            said = "nothing"
        except InvalidInput as error:
            said = str(error)
        except BaseException as error:
            said = f"Traceback: {error!r}"
        seconds, after = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with os.fdopen(sending, "w") as out:
            out.write(json.dumps({"said": said, "seconds": seconds, "grew": (after - before) * 1024}))
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told or '{"said": "killed", "seconds": 60, "grew": 0}') | {"case": case}


def main() -> None:
    """Print what becomes of every case. Run by the test, in a process without threads, which may fork."""
    # What every process imports once is not what a file costs.
    for name, content in (("a.yaml", "{}"), ("a.hcl", "a = 1"), ("a.json", '{"Kind": "service-router", "Name": "a"}')):
        try:
            taken(content.encode(), name)
        except InvalidInput:
            continue
    subset = {"Filter": "Service.ID matches a"}
    taken(_entry("service-resolver", Subsets={"v1": subset}), "a.json")
    for case in HOSTILE:
        print(json.dumps(refusal_of(case)), flush=True)


def test_every_hostile_file_is_refused_with_its_reason_soon_and_in_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.model.test_hostile_config import main; main()"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    told = {each["case"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == HOSTILE.keys()
    for case, each in told.items():
        assert any(said in each["said"] for said in HOSTILE[case][2].split("|")), (case, each["said"][:300])
        assert "\n" not in each["said"], case
        assert each["seconds"] < MOST_CPU_SECONDS, (case, each["seconds"])
        assert each["grew"] < MOST_GROWTH, (case, each["grew"])


# --- any bytes at all ---

ACCEPTED = yaml.safe_load(Path(__file__).with_name("accepted.yaml").read_text(encoding="utf-8"))
FILES = [(row["ending"], row["text"]) for row in ACCEPTED]
NASTY = [
    *"{}[]\"'\\,:=#-*&!|>%@`\n\r\t \0\x7f\x85\u2028\ufeff\ud800",
    *("null", "true", "NaN", "Infinity", "-0", "1e999", "9" * 25, "9" * 5000, "-1", "0.1", "0x1f", "08", "1_000", ".5"),
    *('"\\ud800"', '"\\u0000"', '""', "{}", "[]", "[[]]", "- ", "? ", ": ", "<<: *a", "&a ", "*a", "---\n", "..."),
    *("<<EOF\n", "EOF\n", "${", "%{", "/*", "*/", "//", "\\", '\\"', "(", ")", "yes", "~", "2020-01-01", "\r\n"),
    *("Kind", "Name", "Namespace", "default", "global", "gateways", "Datacenter", "Service", "config_entries", "*"),
    *("service-router", "service-splitter", "proxy-defaults", "namespace", "mesh-gateway", "x" * 300),
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str]:
    """A file that is accepted, with a few pieces of it taken out, doubled, moved, or put in from elsewhere."""
    ending, text = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from([*NASTY, "", text[at:end], text[at:end] * 2, text[end : end + 30]]))
        text = text[:at] + piece + text[end:]
    return f"a.{draw(st.sampled_from([ending, ending, 'json', 'yaml', 'hcl', 'txt']))}", text


def refused_or_sound(content: bytes, name: str) -> None:
    """Refused in one line that can be written anywhere, or taken and read back as it is."""
    try:
        batch = taken(content, name)
    except InvalidInput as error:
        said = str(error)
        assert said.encode(), "it can be written"
        assert "\n" not in said
        return
    for entry in batch.entries:
        written = json.loads(canonical(entry_json(entry)))
        assert parse_entry(written) == entry
    for registration in batch.registrations:
        canonical(registration.model_dump(by_alias=True, exclude_defaults=True))


def check(file: tuple[str, str]) -> None:
    name, text = file
    refused_or_sound(text.encode(errors="surrogatepass"), name)


test_any_file_is_refused_in_one_line_or_sound = settings(deadline=None)(given(mutated())(check))

test_any_file_is_refused_in_one_line_or_sound_for_long = pytest.mark.soak(
    settings(
        deadline=None,
        max_examples=share_of(5_000),
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(given(mutated())(check))
)


INSTEAD: list[Any] = [None, "", 0, [], {}, True, "x" * 5000, -1, 2**63, [[]], [{}], {"": None}, {"a": {"b": []}}, "\0"]
"""What may stand where something else is meant."""


def replaced(value: Any, by: Any) -> Iterator[Any]:
    """`value`, each time with another of the values in it replaced."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        for each in [by, *(replaced(inner, by) if isinstance(inner, dict | list) else ())]:
            yield value | {key: each} if isinstance(value, dict) else [*value[:key], each, *value[key + 1 :]]


def test_whatever_stands_in_a_field_is_refused_in_one_line_or_sound() -> None:
    texts = [each["text"] for each in ACCEPTED if each["ending"] == "json"]
    tried = 0
    for text in texts:
        for by in INSTEAD:
            for document in replaced(json.loads(text), by):
                tried += 1
                refused_or_sound(json.dumps(document).encode(), "a.json")
    assert tried > 1000


@settings(deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["a.json", "a.yaml", "a.hcl", "-"]))
def test_any_bytes_are_refused_in_one_line_or_sound(content: bytes, name: str) -> None:
    refused_or_sound(content, name)
