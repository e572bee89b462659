"""Events from untrusted senders: anything beyond the limits is refused quickly and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pointsman.model.sources.text import MOST_BYTES

MIB = 1024 * 1024
FULL = MOST_BYTES - 200
"""Bytes that a hostile part may have, with what is around it."""

CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000,) * 2)
from pointsman.model.errors import InvalidInput
from pointsman.model.sources.recognize import read_events
from pointsman.model.sources.text import read_json


def peak():
    # Of this program alone: what getrusage has may be that of the one which started it.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


try:
    read_events(read_json(b'{"Source": ["a validator is built at its first use"], "Instances": [{}]}'))
except InvalidInput:
    pass
body = open(sys.argv[1], "rb").read()
before = peak()
began = time.process_time()
try:
    read_events(read_json(body))
    refused = ""
except InvalidInput as error:
    refused = str(error)
seconds = time.process_time() - began
more = peak() - before
print(json.dumps([seconds, more / 1024, refused]))
"""


def event(instances: bytes) -> bytes:
    """A list of api."""
    return b'{"Source": "s", "Index": 1, "Datacenter": "dc1", "Service": "api", "Instances": ' + instances + b"}"


def many(element: bytes, size: int) -> bytes:
    """A JSON list of about that many bytes."""
    return b"[" + b",".join([element] * (size // (len(element) + 1))) + b"]"


def of_one(service: bytes, checks: bytes = b"[]") -> bytes:
    """A list of one instance with more in it."""
    return event(b'[{"Node":{"Node":"n"},"Service":{"ID":"a",' + service + b'},"Checks":' + checks + b"}]")


META = b",".join(b'"%d":1' % number for number in range(100_000))
CHECK = b'{"Node":"n","ServiceID":"x"}'
WATCH = b'{"detail-type":"Consul Watch","detail":{"Type":"checks","Datacenter":"dc1","Index":1,"Service":"a","Result":'
TASK = b'{"detail-type":"ECS Task State Change","detail":{"taskArn":"a","clusterArn":"b","lastStatus":"c","version":1,'
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a megabyte of nothing": (event(many(b"{}", MIB)), "20000 are the most"),
    "as much as there may be of it": (event(many(b"{}", 19_990 * 3)), "has more than these 20 problems"),
    "as many bytes of nothing as there may be": (event(many(b"{}", FULL)), "750000 are the most"),
    "checks that are none": (of_one(b'"Port":1', many(b"{}", MIB)), "Checks[0].Status: is required"),
    "tags that are none": (of_one(b'"Tags":' + many(b"1", MIB)), "Tags[0]: must be a string"),
    "meta that is none": (of_one(b'"Meta":{' + META + b"}"), "1024 are the most"),
    "a name of all bytes that there may be": (of_one(b'"Service":"' + b"a" * FULL + b'"'), "at most 4096 characters"),
    "a field of that name": (event(b'[{}],"' + b"a" * FULL + b'":1'), "Instances[0].Node: is required"),
    "a field whose name has a rare letter": (event(b'[{}],"' + b"a" * FULL + b'\xf0\x9f\x9a\x80":1'), "is required"),
    "a name that is nothing but escapes": (
        of_one(b'"Service":"' + rb"\"" * (FULL // 2) + b'"'),
        "at most 4096 characters",
    ),
    "as many names as there may be": (event(b'[{}],"' + b'":1,"'.join([b"a" * 20] * 600_000) + b'":1'), "is required"),
    "no end": (event(b"[" + b'"' + b"a" * FULL + b'"'), "is not JSON"),
    "no UTF-8": (event(b'["' + b"a" * FULL + b'\xff"]'), "is not UTF-8"),
    "more bytes than there may be": (b"[" * (MOST_BYTES + 1), "is longer than"),
    "brackets": (b"[" * MOST_BYTES, "is nested too deeply"),
    "brackets in strings that do not end": (b'["' + rb"[\"" * (FULL // 3), "is not JSON"),
    "quotes": (b'"' * MOST_BYTES, "is not JSON"),
    "backslashes": (b"[" * 70 + b"\\" * FULL, "is nested too deeply"),
    "brackets, a few levels back at a time": ((b"[" * 60 + b"]" * 59) * (FULL // 119), "750000 are the most"),
    "brackets that close": (b"[" * 350_000 + b"]" * 350_000, "is nested too deeply"),
    "checks of a watch": (WATCH + many(CHECK, 5 * MIB) + b"}}", "Status: is required"),
    "attachments of a task": (TASK + b'"attachments":' + many(b'{"details":[1]}', MIB) + b"}}", "must be a mapping"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_soon_and_in_little_memory(name: str, tmp_path: Path) -> None:
    body, reason = HOSTILE[name]
    file = tmp_path / "event.json"
    file.write_bytes(body)
    out = subprocess.run([sys.executable, "-c", CHILD, str(file)], capture_output=True, check=True, timeout=120)
    seconds, mebibytes, refused = json.loads(out.stdout)
    assert reason in refused
    assert len(refused) < 20_000
    assert mebibytes < 100
    assert seconds < 5, "less than a second on an idle machine"
