"""The way to a mocked S3, where a test can put what goes wrong on it."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ReadTimeoutError

Answer = tuple[int, dict[str, str], str | bytes]
Pass = Callable[[], Answer]
Fault = Callable[[Pass], Answer]


def refusal(status: int, code: str) -> Fault:
    """S3 answers with this error and does nothing."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as the test says</Message></Error>"
    return lambda passed: (status, {"Content-Type": "application/xml"}, body)


def refusal_though_done(status: int, code: str) -> Fault:
    """S3 does what was asked and answers with this error all the same."""

    def fault(passed: Pass) -> Answer:
        assert passed()[0] == 200
        return refusal(status, code)(passed)

    return fault


def silence(passed: Pass) -> Answer:
    """The request never arrives, and no answer comes."""
    raise ReadTimeoutError(endpoint_url="https://s3.test")


def silence_though_done(passed: Pass) -> Answer:
    """S3 does what was asked, but its answer never arrives."""
    assert passed()[0] == 200
    raise ReadTimeoutError(endpoint_url="https://s3.test")


def after(action: Callable[[], object], fault: Fault) -> Fault:
    """`fault`, but `action` happens before it."""

    def both(passed: Pass) -> Answer:
        action()
        return fault(passed)

    return both


_CONDITIONS = ("If-Match", "If-None-Match")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass
class Wire:
    """Every request of a mocked client goes through here, one at a time but for `around`.

    The mock compares and writes in two steps, which S3 does in one: the lock makes it one here too. Headers that are
    `dropped` do not arrive.
    """

    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    lasting: dict[str, Fault] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    statuses: list[tuple[str, int]] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    around: Callable[[], object] = lambda: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def will(self, method: str, *faults: Fault) -> None:
        """The next requests with this HTTP method meet these faults, one each; all have to be met."""
        self.faults.setdefault(method, deque()).extend(faults)

    def always(self, method: str, fault: Fault) -> None:
        """Every further request with this HTTP method meets this fault; `met` counts them."""

        def counted(passed: Pass) -> Answer:
            self.met[method] += 1
            return fault(passed)

        self.lasting[method] = counted

    def __call__(self, pass_on: Callable[[AWSPreparedRequest], Any], request: AWSPreparedRequest) -> Answer:
        self.around()
        for name in self.dropped & {*request.headers}:
            del request.headers[name]
        with self.lock:
            waiting = self.faults.get(request.method)
            fault = waiting.popleft() if waiting else self.lasting.get(request.method, lambda passed: passed())
            answer = fault(lambda: pass_on(request))
            self.statuses.append((request.method, answer[0]))
            self.conditions += [
                f"{name}: {_text(request.headers[name])}" for name in _CONDITIONS if name in request.headers
            ]
            return answer
