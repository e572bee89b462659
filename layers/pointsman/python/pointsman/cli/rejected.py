"""For `pointsman status`: which Envoys of an adapter reject something, are ahead, or are deleted, and what went
back."""

from dataclasses import dataclass
from typing import Any

from pointsman.adapter.report.rejection import what
from pointsman.model.errors import InvalidInput
from pointsman.serve.ask import NoAnswer, get_json
from pointsman.serve.listen import Listen

_PATIENCE_S = 5.0
"""Seconds to wait for an adapter's whole answer."""

_FIELDS = ("way", "proxy", "node", "kind", "name", "reason", "since")
_RETIRED_FIELDS = ("way", "proxy", "node", "since")


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """The answer of the adapter at `place`: the content of `/rejections`, or an `error` that says why it is missing."""

    place: str
    error: str
    rejections: tuple[dict[str, str], ...] = ()
    ahead: tuple[str, ...] = ()
    resets: tuple[dict[str, str], ...] = ()
    retired: tuple[dict[str, str], ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "adapter": self.place,
            "error": self.error,
            "rejections": list(self.rejections),
            "ahead": list(self.ahead),
            "resets": list(self.resets),
            "retired": list(self.retired),
        }

    def lines(self) -> list[str]:
        """As lines for people."""
        if self.error:
            return [f"adapter {self.place}: {self.error}"]
        if not (self.rejections or self.ahead or self.resets or self.retired):
            return [f"adapter {self.place}: nothing is rejected"]
        found = [f"adapter {self.place}:"]
        for each in self.rejections:
            of = what(each["kind"], each["name"])
            found.append(f"  {each['node']} ({each['proxy']}) rejects {of} since {each['since']}")
            found += [f"    {line}" for line in each["reason"].splitlines()]
        found += [f"  {each}; the store cannot be read to confirm it" for each in self.ahead]
        found += [f"  the store went back: {each['what']} {each['went']} at {each['at']}" for each in self.resets]
        for each in self.retired:
            who = f"{each['node']} ({each['proxy']}) still fetches" if each["node"] else f"files of {each['proxy']}"
            found.append(f"  {who}, deleted from the config, since {each['since']}")
        return found


def read_place(text: str) -> Listen:
    """The address of an adapter's pages for operators: http://IP:PORT, IP:PORT or unix:PATH. Raises InvalidInput."""
    short = text.removeprefix("http://").rstrip("/").replace("localhost:", "127.0.0.1:", 1)
    place = Listen.read(short, "--adapter")
    if not place.local:
        reason = f'"{text}" is not on this machine: an adapter shows what is rejected to its own machine alone'
        raise InvalidInput.single("--adapter", "", reason)
    return place


def ask(place: Listen) -> AdapterStatus:
    """The status of the adapter at `place`. An adapter that does not answer is reported in the status, not raised."""
    try:
        answer = get_json(place, "/rejections", timeout=_PATIENCE_S)
    except NoAnswer as error:
        return AdapterStatus(str(place), str(error).removeprefix(f"{place}: "))
    rejections = answer.get("rejections") if isinstance(answer, dict) else None
    if not isinstance(rejections, list):
        reason = "it has no /rejections: name the address that it was given with --ops"
        return AdapterStatus(str(place), reason)
    ahead = tuple(each for each in _list(answer, "ahead") if isinstance(each, str))
    resets = _texts(_list(answer, "resets"), ("what", "went", "at"))
    retired = _texts(_list(answer, "retired"), _RETIRED_FIELDS)
    return AdapterStatus(str(place), "", _texts(rejections, _FIELDS), ahead, resets, retired)


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    found = answer.get(name)
    return found if isinstance(found, list) else []


def _texts(found: list[Any], names: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    return tuple({name: str(each.get(name, "")) for name in names} for each in found if isinstance(each, dict))
