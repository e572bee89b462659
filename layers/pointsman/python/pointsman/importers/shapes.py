"""The shapes of App Mesh's API, which botocore still ships, and how values of other spellings fit them.

CloudFormation writes `PortMapping`, Terraform `port_mapping`, with a list around each block and names of lists in the
singular, Kubernetes `virtualNodeRef` where the API has `virtualNodeName`. All become the API's `portMapping`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from pointsman.importers.pieces import Ledger, Piece, as_text, below, pieces
from pointsman.importers.sources import placeholders

_ALIASES = {
    "cloudmap": "awscloudmap",
    "meshservicediscovery": "servicediscovery",
    "servicename": "hostname",
    "perretrytimeoutmillis": "perretrytimeout",
    "virtualnodename": "virtualnode",
    "virtualnoderef": "virtualnodename",
    "virtualnodearn": "virtualnodename",
    "virtualservicearn": "virtualservicename",
    "virtualserviceref": "virtualservicename",
    "virtualrouterarn": "virtualroutername",
    "virtualrouterref": "virtualroutername",
    "http": "httproute",
    "http2": "http2route",
    "grpc": "grpcroute",
    "tcp": "tcproute",
}
"""Names of members in the Kubernetes resources of both versions, in the API's first version, and its own."""


class Shapes:
    """Makes pieces in the API's shapes. What does not fit goes to `ledger`, and `resolved` gives what a value of the
    source stands for, and at which path that stands."""

    def __init__(
        self,
        ledger: Ledger,
        resolved: Callable[[Any, str], tuple[Any, str]],
        kubernetes: Callable[[Mapping[str, Any]], str],
    ):
        self._ledger = ledger
        self._resolved = resolved
        self._kubernetes = kubernetes

    def fitted(self, shape: str, value: Any, file: str, path: str) -> Piece | None:
        """`value` as the API's `shape`; None if it says nothing or does not fit."""
        spec = _model()[shape]
        given = value
        value, path = self._resolved(value, path)
        if value is None or (isinstance(value, list | dict | str) and not value):
            self._ledger.pass_over(pieces(file, path, given if value is None else value), "says nothing")
            return None
        if isinstance(value, dict) and len(value) == 1 and (function := next(iter(value))).startswith("Fn::"):
            reason = f"{function} is resolved by CloudFormation alone", "write the value itself"
            if function == "Fn::If":
                condition = str(value[function][0]) if isinstance(value[function], list) and value[function] else ""
                reason = (unknown_condition(condition), SET_PARAMETERS)
            self._ledger.name(pieces(file, path, value), *reason)
            return None
        if spec["type"] == "structure":
            return self._structure(shape, value, file, path)
        if spec["type"] == "list":
            return self._list(spec["member"]["shape"], value, file, path)
        return self._scalar(spec, value, file, path)

    def _structure(self, shape: str, value: Any, file: str, path: str) -> Piece | None:
        if isinstance(value, list) and len(value) == 1:
            return self.fitted(shape, value[0], file, f"{path}[0]")
        if shape == "Duration" and not isinstance(value, dict | list):
            number = self._scalar(_model()["DurationValue"], value, file, path)
            return Piece(file, path, {"value": number, "unit": Piece(file, path, "ms")}) if number else None
        if shape == "Backend" and isinstance(value, str):  # the API's first version
            called = Piece(file, path, value)
            return Piece(file, path, {"virtualService": Piece(file, path, {"virtualServiceName": called})})
        if not isinstance(value, dict):
            self._misfit(pieces(file, path, value), str(value), "is no block, as the API has it")
            return None
        members = _model()[shape]["members"]
        known = {each.casefold(): each for each in members}
        found: dict[str, Piece] = {}
        for key, below_it in value.items():
            at = below(path, key)
            name = _member(key, known)
            if name is None or name in found:
                reason = f"App Mesh's API has no such field in {shape}" if name is None else f"{name} is given twice"
                self._ledger.name(pieces(file, at, below_it), reason, "check its spelling and its place")
            elif (piece := self.fitted(members[name]["shape"], below_it, file, at)) is not None:
                found[name] = piece
        return Piece(file, path, found) if found else None

    def _list(self, shape: str, value: Any, file: str, path: str) -> Piece | None:
        if isinstance(value, dict) and set(_model()[shape].get("members", ())) >= {"key", "value"}:
            # Terraform has attributes as a map.
            return Piece(file, path, [_attribute(file, below(path, key), key, value[key]) for key in value])
        if not isinstance(value, list):
            found = [self.fitted(shape, value, file, path)]
        else:
            found = [self.fitted(shape, each, file, f"{path}[{i}]") for i, each in enumerate(value)]
        there = [each for each in found if each is not None]
        return Piece(file, path, there) if there else None

    def _scalar(self, spec: Mapping[str, Any], value: Any, file: str, path: str) -> Piece | None:
        if isinstance(value, dict) and spec["type"] == "string" and (text := self._kubernetes(value)):
            value = text
        piece = pieces(file, path, value)
        if isinstance(value, dict | list):
            self._ledger.name(piece, "is not one value", "write the value itself")
            return None
        if spec["type"] == "string":
            return self._word(spec, piece)
        given, text = piece.value, str(piece.value)
        if spec["type"] == "boolean":
            piece.value = {"true": True, "false": False}.get(text.lower())
        else:
            piece.value = int(text) if text.lstrip("-").isdigit() and len(text) < 19 else None
        if piece.value is None:
            self._misfit(piece, text, f"{given!r} is not a {spec['type']}")
            return None
        if spec["type"] != "boolean":
            least, most = spec.get("min", piece.value), spec.get("max", piece.value)
            if piece.value == 0 and least > 0:
                self._ledger.pass_over(piece, "says nothing")  # Terraform has a 0 for what is not set
                return None
            if not least <= piece.value <= most:
                self._misfit(piece, text, f"{text} is not between {least} and {spec.get('max', 'more')}")
                return None
        return piece

    def _word(self, spec: Mapping[str, Any], piece: Piece) -> Piece | None:
        text = as_text(piece.value)
        piece.value = text
        words = {each.casefold(): each for each in spec.get("enum", ())}
        if words and text.casefold() not in words:
            self._misfit(piece, text, f'"{text}" is none of {", ".join(sorted(words.values()))}')
            return None
        piece.value = words.get(text.casefold(), text)
        remark_placeholders(piece, text, self._ledger)
        return piece

    def _misfit(self, piece: Piece, text: str, reason: str) -> None:
        if names := placeholders(text):
            self._ledger.name(piece, f"holds the placeholder {names[0]}", f"give its value: --set {names[0]}=VALUE")
        else:
            self._ledger.name(piece, reason, "correct it")


def remark_placeholders(piece: Piece, text: str, ledger: Ledger) -> None:
    """Remark each placeholder that stays in `text`, once."""
    for name in placeholders(text):
        ledger.remark_once(piece, f"the placeholder {name} stays in names and other text: --set {name}=VALUE fills it")


SET_PARAMETERS: Final = "give those it asks for: --set NAME=VALUE"


def unknown_condition(condition: str) -> str:
    """The reason of what depends on a condition of which the template does not say whether it holds."""
    return f"whether its condition {condition} holds is not said by the parameters' values"


def _member(key: str, known: Mapping[str, str]) -> str | None:
    plain = key.replace("_", "").casefold()
    alias = _ALIASES.get(plain, "")
    for each in (plain, f"{plain}s", alias, _ALIASES.get(alias, "")):
        if each in known:
            return known[each]
    return None


def _attribute(file: str, path: str, key: str, value: Any) -> Piece:
    return Piece(file, path, {"key": Piece(file, path, key), "value": Piece(file, path, as_text(value))})


@cache
def _model() -> dict[str, Any]:
    from botocore.loaders import Loader

    shapes: dict[str, Any] = Loader().load_service_model("appmesh", "service-2")["shapes"]
    return shapes
