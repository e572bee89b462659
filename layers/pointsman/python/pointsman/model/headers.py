"""Headers that a route or a split adds to requests or responses, sets or removes."""

import re
from collections.abc import Iterator
from typing import Final, Protocol

from pointsman.model.complaints import brief
from pointsman.model.names import is_plain_text
from pointsman.model.shape import Shape, StringMap

MOST_HEADERS: Final = 100
"""Headers that one route or split adds, sets and removes in one direction."""

LONGEST_HEADER_BYTES: Final = 16_384
"""Bytes of a header's name or value: Envoy takes no more in its config."""

# RFC 9110, section 5.1: a field name is a token.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
COMMANDS: Final = (
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "HOSTNAME",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "ROUTE_NAME",
    "START_TIME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_REMOTE_ADDRESS",
    "VIRTUAL_CLUSTER_NAME",
)
"""What Envoy puts into a header's value between percent signs, without arguments."""
_VALUE = re.compile(rf"(?:[^%]|%%|%(?:{'|'.join(COMMANDS)})%|%(?:REQ|RESP)\([A-Za-z0-9:?_-]+\)(?::[0-9]{{1,4}})?%)*+\Z")


class HeaderModifiers(Shape):
    """Headers that are added, those that are set (a value that is there goes), and those that are removed."""

    add: StringMap = {}
    set: StringMap = {}
    remove: list[str] = []

    def merged(self, over: "HeaderModifiers") -> "HeaderModifiers":
        """These and those of `over`, which hold where both name a header."""
        removed = dict.fromkeys((*self.remove, *over.remove))
        return HeaderModifiers(add=self.add | over.add, set=self.set | over.set, remove=list(removed))

    def check(self, at: str) -> Iterator[tuple[str, str]]:
        """What is wrong with them at path `at`. Envoy would refuse the whole listener for it."""
        count = len(self.add) + len(self.set) + len(self.remove)
        if count > MOST_HEADERS:
            yield at, f"names {count} headers, {MOST_HEADERS} are the most"
            return
        for field, values in (("Add", self.add), ("Set", self.set)):
            for name, value in values.items():
                yield from _name_problems(f"{at}.{field}", name)
                if not is_plain_text(value) or len(value.encode(errors="replace")) > LONGEST_HEADER_BYTES:
                    reason = f"has a character that no header has, or more than {LONGEST_HEADER_BYTES} bytes"
                    yield f'{at}.{field}["{brief(name)}"]', reason
                elif not _VALUE.match(value):
                    reason = "has a % that Envoy cannot read; write %% for a percent sign, or one of its variables"
                    yield f'{at}.{field}["{brief(name)}"]', f"{reason}, as in %UPSTREAM_CLUSTER%"
        for i, name in enumerate(self.remove):
            yield from _name_problems(f"{at}.Remove[{i}]", name)


def _name_problems(at: str, name: str) -> Iterator[tuple[str, str]]:
    if name.startswith(":") or name.lower() == "host":
        yield at, f'"{brief(name)}" cannot be changed: Envoy decides by it'
    elif not _NAME.match(name) or len(name) > LONGEST_HEADER_BYTES:
        yield at, f'"{brief(name)}" is not the name of a header'


class HasHeaders(Protocol):
    """A route's destination or a split."""

    @property
    def request_headers(self) -> HeaderModifiers | None:
        """What becomes of the headers of requests."""

    @property
    def response_headers(self) -> HeaderModifiers | None:
        """What becomes of the headers of responses."""


def header_problems(at: str, owner: HasHeaders) -> Iterator[tuple[str, str]]:
    """What is wrong with the headers of `owner`, which is at path `at`."""
    for field, modifiers in (("RequestHeaders", owner.request_headers), ("ResponseHeaders", owner.response_headers)):
        if modifiers:
            yield from modifiers.check(f"{at}.{field}")
