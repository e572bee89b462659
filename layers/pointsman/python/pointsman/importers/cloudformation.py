"""What CloudFormation's functions stand for, as far as the template itself says it."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.importers.sources import placeholders

MOST_FUNCTIONS: Final = 32
"""Functions of CloudFormation within each other that are resolved."""

LONGEST_TEXT: Final = 10_000
"""Characters of what functions of CloudFormation give; what would be longer stays as it is."""

_NAMES: Final = (
    "VirtualServiceName", "VirtualNodeName", "VirtualRouterName", "RouteName", "VirtualGatewayName",
    "GatewayRouteName", "MeshName", "Name",
)  # fmt: skip


class Template:
    """A template, and what its functions give: parameters by their defaults, resources by their names.

    What only AWS knows stays as a placeholder, `${AWS::StackName}`.
    """

    def __init__(self, document: Mapping[str, Any], values: Mapping[str, str]) -> None:
        self._values = values
        self._parameters = _block(document.get("Parameters"))
        self._mappings = _block(document.get("Mappings"))
        self._conditions = _block(document.get("Conditions"))
        self._resources = _block(document.get("Resources"))
        # Each is worked out once. One that needs itself is not known.
        self._known_names: dict[str, Any] = {}
        self._known_conditions: dict[str, bool | None] = {}

    def resolved(self, value: Any, depth: int = 0) -> Any:
        """`value` without functions: text, where they give text."""
        if depth > MOST_FUNCTIONS or not isinstance(value, dict) or len(value) != 1:
            return value
        ((function, given),) = value.items()
        match function.removeprefix("Fn::"), given:
            case "Ref", str():
                return self._reference(given, depth)
            case "GetAtt", [str() as resource, str() as attribute]:
                return self._attribute(resource, attribute, depth)
            case "GetAtt", str() if "." in given:
                resource, _, attribute = given.partition(".")
                return self._attribute(resource, attribute, depth)
            case "Sub", str():
                return self._substituted(given, {}, depth)
            case "Sub", [str() as text, dict() as own]:
                return self._substituted(text, own, depth)
            case "Join", [str() as between, list() as parts]:
                joined = [str(self.resolved(each, depth + 1)) for each in parts]
                length = sum(map(len, joined)) + len(between) * len(joined)
                return between.join(joined) if length <= LONGEST_TEXT else value
            case "FindInMap", [mapping, first, second, *_]:
                found = _block(self._mappings.get(str(self.resolved(mapping, depth + 1))))
                found = _block(found.get(str(self.resolved(first, depth + 1))))
                return found.get(str(self.resolved(second, depth + 1)), value)
            case "Select", [index, choices]:
                return self._selected(index, choices, depth) or value
            case "Split", [str() as between, text] if between:
                whole = self.resolved(text, depth + 1)
                return whole.split(between) if isinstance(whole, str) and not placeholders(whole) else value
            case "ImportValue", _:
                return f"${{{_plain(str(self.resolved(given, depth + 1)))}}}"
            case "If", [str() as condition, yes, no]:
                return self.resolved(yes if self._holds({"Condition": condition}, depth) else no, depth + 1)
        return value

    def branch(self, value: Any) -> tuple[int, Any] | None:
        """Which of its three parts an `If` chooses, and that part; None if `value` is no `If`."""
        match value:
            case {"Fn::If": [str() as condition, yes, no]} if len(value) == 1:
                return (1, yes) if self._holds({"Condition": condition}, 0) else (2, no)
        return None

    def _selected(self, index: Any, choices: Any, depth: int) -> Any:
        choices, at = self.resolved(choices, depth + 1), str(self.resolved(index, depth + 1))
        if isinstance(choices, str) and not placeholders(choices):
            choices = [each.strip() for each in choices.split(",")]
        known = isinstance(choices, list) and at.isdecimal() and len(at) < 5 and int(at) < len(choices)
        return self.resolved(choices[int(at)], depth + 1) if known else None

    def holds(self, condition: Any) -> bool | None:
        """Whether the condition of this name holds for the parameters' values; None if these do not say it."""
        return self._holds({"Condition": condition}, 0)

    def _holds(self, condition: Any, depth: int) -> bool | None:
        if depth > MOST_FUNCTIONS or not isinstance(condition, dict) or len(condition) != 1:
            return None
        ((function, given),) = condition.items()
        match function.removeprefix("Fn::"), given:
            case "Condition", str():
                if given not in self._known_conditions:
                    self._known_conditions[given] = None
                    self._known_conditions[given] = self._holds(self._conditions.get(given), depth + 1)
                return self._known_conditions[given]
            case "Equals", [one, other]:
                texts = [str(self.resolved(each, depth + 1)) for each in (one, other)]
                return None if texts[0] != texts[1] and any(map(placeholders, texts)) else texts[0] == texts[1]
            case "Not", [inner]:
                found = self._holds(inner, depth + 1)
                return None if found is None else not found
            case ("And" | "Or") as both, list():
                every = {self._holds(each, depth + 1) for each in given}
                decides = both == "Or"
                return decides if decides in every else None if None in every else not decides
        return None

    def _reference(self, name: str, depth: int) -> Any:
        if name == "AWS::NoValue":
            return None
        if name in self._values:
            return self._values[name]
        if "Default" in (parameter := _block(self._parameters.get(name))):
            return parameter["Default"]
        if name in self._resources:
            return self._named(name, depth)
        return f"${{{name}}}"

    def _attribute(self, resource: str, attribute: str, depth: int) -> Any:
        if attribute in _NAMES and resource in self._resources:
            return self._named(resource, depth)
        return f"${{{resource}.{attribute}}}"

    def _named(self, name: str, depth: int) -> Any:
        """The name of a resource: as its properties say, else that by which the template calls it."""
        if name not in self._known_names:
            self._known_names[name] = name
            self._known_names[name] = self._name_said(name, depth)
        return self._known_names[name]

    def _name_said(self, name: str, depth: int) -> Any:
        properties = _block(_block(self._resources.get(name)).get("Properties"))
        kind = str(_block(self._resources.get(name)).get("Type", "")).rpartition("::")[2]
        for each in (f"{kind}Name", "Name"):
            if each in properties:
                return self.resolved(properties[each], depth + 1)
        return name

    def _substituted(self, text: str, own: Mapping[str, Any], depth: int) -> str:
        found = text
        for name in dict.fromkeys(placeholders(text)):
            if name in own:
                value = self.resolved(own[name], depth + 1)
            elif "." in name:
                resource, _, attribute = name.partition(".")
                value = self._attribute(resource, attribute, depth)
            else:
                value = self._reference(name, depth)
            if isinstance(value, str | int):
                new, old = str(value), f"${{{name}}}"
                if len(found) + found.count(old) * len(new) > LONGEST_TEXT:
                    return text
                found = found.replace(old, new)
        return found


def _block(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(text: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in text).strip("_")
