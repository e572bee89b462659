"""Events from whoever may send some: what is beyond the limits is refused soon and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1024 * 1024

CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000,) * 2)
from pointsman.model.errors import InvalidInput
from pointsman.model.sources.recognise import read_events
from pointsman.model.sources.text import read_json
try:
    read_events(read_json(b'{"Source": ["a validator is built at its first use"], "Instances": [{}]}'))
except InvalidInput:
    pass
body = open(sys.argv[1], "rb").read()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
try:
    read_events(read_json(body))
    refused = ""
except InvalidInput as error:
    refused = str(error)
seconds = time.process_time() - began
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
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
    "sixty megabytes of nothing": (event(many(b"{}", 60 * MIB)), "750000 are the most"),
    "checks that are none": (of_one(b'"Port":1', many(b"{}", MIB)), "Checks[0].Status: is required"),
    "tags that are none": (of_one(b'"Tags":' + many(b"1", MIB)), "Tags[0]: must be a string"),
    "meta that is none": (of_one(b'"Meta":{' + META + b"}"), "1024 are the most"),
    "a name of sixty megabytes": (of_one(b'"Service":"' + b"a" * 60 * MIB + b'"'), "at most 4096 characters"),
    "brackets": (b"[" * 30 * MIB, "is nested too deeply"),
    "brackets, a few levels back at a time": ((b"[" * 60 + b"]" * 59) * 250_000, "750000 are the most"),
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
