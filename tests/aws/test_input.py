"""What anybody may send to the functions' URLs: it is answered with what is wrong with it, and nothing changes."""

import base64
import json
from typing import Any

import pytest

from tests.aws.harness import Aws, url_event
from tests.aws.mesh import CONFIG

LONG = "9" * 5000

BODIES: dict[str, bytes] = {
    "no UTF-8": b"\xff\xfe{}",
    "half a character": b'{"Kind": "\xc3"}',
    "half a surrogate pair": b'{"Kind": "\\ud800"}',
    "half a surrogate pair, as bytes": b'{"Kind": "\xed\xa0\x80"}',
    "nothing": b"",
    "NULs": bytes(1000),
    "no JSON": b"{",
    "many brackets": b"[" * 100_000,
    "only a string": b'"x"',
    "only a number": b"7",
}

PATHS = (
    ("POST", f"/v1/rollback/{LONG}"),
    ("POST", "/v1/rollback/-1"),
    ("POST", "/v1/rollback/\u0663"),
    ("POST", "/v1/rollback/\u00b2"),
    ("POST", "/v1/rollback/1e3"),
    ("POST", "/v1/rollback/0"),
    ("POST", f"/v1/rollback/{10**17}"),
    ("GET", f"/v1/config/service-resolver/{LONG}"),
    ("GET", "/v1/config/service-resolver/\x00"),
    ("GET", "/v1/config/nosuch/s2"),
    ("DELETE", "/v1/config/nosuch/\ufffd"),
    ("DELETE", f"/v1/config/registration/{LONG}"),
    ("GET", f"/v1/config/registration/gateways/{LONG}"),
    ("GET", "/v1/config/registration/%00"),
    ("PATCH", "/v1/config"),
    ("GET", "/v2"),
)


@pytest.fixture(scope="module")
def aws() -> Any:
    with Aws() as aws:
        assert aws.request("Configure", "PUT", "/v1/config", CONFIG)[0] == 200
        yield aws


def sent(aws: Aws, function: str, path: str, body: bytes, kind: str, method: str = "POST") -> tuple[int, Any]:
    """Status and answer of a request whose body comes as AWS sends what is no text."""
    event = url_event(method, path)
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True, "headers": {"content-type": kind}}
    answer = aws.handler(function)(event)
    return answer["statusCode"], json.loads(answer["body"] or "null")


@pytest.mark.parametrize("kind", ["application/json", "application/yaml", "application/hcl", ""])
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_says_nothing_is_refused_with_the_reason(what: str, kind: str, aws: Aws) -> None:
    before = aws.request("Configure", "GET", "/v1/config")
    code, answer = sent(aws, "Configure", "/v1/config", BODIES[what], kind)
    # Without a content type nobody has said what it is.
    assert code == (400 if kind else 415)
    assert answer["problems" if kind else "error"]
    assert aws.request("Configure", "GET", "/v1/config") == before


@pytest.mark.parametrize("what", BODIES)
def test_a_discovery_request_that_is_none_is_refused_with_the_reason(what: str, aws: Aws) -> None:
    for kind in ("clusters", "endpoints", "listeners"):
        code, answer = sent(aws, "Discovery", f"/v3/discovery:{kind}", BODIES[what], "application/json")
        assert (code, bool(answer["error"])) == (400, True)


@pytest.mark.parametrize(("method", "path"), PATHS, ids=[f"{method} {path[:30]!r}" for method, path in PATHS])
def test_a_path_that_names_nothing_is_refused(method: str, path: str, aws: Aws) -> None:
    code, answer = aws.request("Configure", method, path, None, dc="dc1")
    assert 400 <= code < 500
    assert answer


def test_what_is_no_base64_is_refused(aws: Aws) -> None:
    for function, path in (("Configure", "/v1/config"), ("Discovery", "/v3/discovery:clusters")):
        for body in ("x", "====", "\u00e4"):
            event = url_event("POST", path) | {"body": body, "isBase64Encoded": True}
            assert aws.handler(function)(event)["statusCode"] == 400


def test_a_version_of_5000_digits_is_refused_and_a_foreign_one_is_answered(aws: Aws) -> None:
    node = {"id": "s1-1", "cluster": "s1", "metadata": {"datacenter": "dc1"}}
    for version, status in ((f"{LONG}.1.1-{'0' * 16}", 400), ("\u0663.1.1-" + "0" * 16, 200)):
        body = json.dumps({"node": node, "version_info": version}).encode()
        assert sent(aws, "Discovery", "/v3/discovery:clusters", body, "application/json")[0] == status
