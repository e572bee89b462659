"""What CloudFormation's functions stand for, as far as the template itself says it."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.importers.pieces import as_text
from pointsman.importers.sources import placeholders

MOST_FUNCTIONS: Final = 32
"""Functions of CloudFormation within each other that are resolved."""

LONGEST_TEXT: Final = 10_000
"""Characters of what functions of CloudFormation give; what would be longer stays as it is."""

MOST_EXPORTS: Final = 1_000
"""Values that templates of one import export to others; what more of them export is not known to the others."""

_NAMES: Final = (
    "VirtualServiceName", "VirtualNodeName", "VirtualRouterName", "RouteName", "VirtualGatewayName",
    "GatewayRouteName", "MeshName", "Name",
)  # fmt: skip


class Template:
    """A template, and what its functions give: parameters by their defaults, resources by their names.

    What only AWS knows stays as a placeholder, `${AWS::StackName}`.
    """

    def __init__(
        self, document: Mapping[str, Any], values: Mapping[str, str], exports: "Exports | None" = None
    ) -> None:
        self._values = values
        self._exports = exports
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
                found = [each for part in parts if (each := self.resolved(part, depth + 1)) is not None]
                if not all(isinstance(each, str | int | float) for each in found):
                    return value
                joined = [as_text(each) for each in found]
                length = sum(map(len, joined)) + len(between) * len(joined)
                return between.join(joined) if length <= LONGEST_TEXT else value
            case "FindInMap", [mapping, first, second, *_]:
                rows = _block(self._mappings.get(str(self.resolved(mapping, depth + 1))))
                row = _block(rows.get(str(self.resolved(first, depth + 1))))
                return row.get(str(self.resolved(second, depth + 1)), value)
            case "Select", [index, choices]:
                return self._selected(index, choices, depth) or value
            case "Split", [str() as between, text] if between:
                whole = self.resolved(text, depth + 1)
                return whole.split(between) if isinstance(whole, str) and not placeholders(whole) else value
            case "ImportValue", _:
                name = self.resolved(given, depth + 1)
                exported = self._exports.value(name, depth) if self._exports and isinstance(name, str) else None
                return f"${{{_plain(str(name))}}}" if exported is None else exported
            case "If", [str() as condition, yes, no]:
                holds = self._holds({"Condition": condition}, depth)
                return value if holds is None else self.resolved(yes if holds else no, depth + 1)
        return value

    def branch(self, value: Any) -> tuple[int, Any] | None:
        """Which of its three parts an `If` chooses, and that part; None if `value` is no `If`, or if it is not known
        which."""
        match value:
            case {"Fn::If": [str() as condition, yes, no]} if len(value) == 1:
                holds = self._holds({"Condition": condition}, 0)
                return None if holds is None else (1, yes) if holds else (2, no)
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
                both = [self.resolved(each, depth + 1) for each in (one, other)]
                if any(isinstance(each, dict | list) for each in both):
                    return None
                texts = [as_text(each) for each in both]
                return None if texts[0] != texts[1] and any(map(placeholders, texts)) else texts[0] == texts[1]
            case "Not", [inner]:
                found = self._holds(inner, depth + 1)
                return None if found is None else not found
            case ("And" | "Or") as word, list():
                every = {self._holds(each, depth + 1) for each in given}
                decides = word == "Or"
                return decides if decides in every else None if None in every else not decides
        return None

    def _reference(self, name: str, depth: int) -> Any:
        if name == "AWS::NoValue":
            return None
        if name in self._values:
            return self._values[name]
        parameter = _block(self._parameters.get(name))
        # Of what AWS keeps for it, the default says only where.
        if "Default" in parameter and not str(parameter.get("Type")).startswith("AWS::SSM::Parameter::Value"):
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
            said = self.resolved(properties.get(each), depth + 1)
            if isinstance(said, str | int):
                return said
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
                new, old = as_text(value), f"${{{name}}}"
                if len(found) + found.count(old) * len(new) > LONGEST_TEXT:
                    return text
                found = found.replace(old, new)
        return found


class Exports:
    """What the templates of one import export, for those that import it."""

    def __init__(self) -> None:
        self._exported: dict[str, tuple[Template, Any, tuple[str, str] | None]] = {}
        # Each is worked out once. One that needs itself is not known.
        self._known: dict[str, Any] = {}

    def add(self, template: Template, document: Mapping[str, Any]) -> None:
        """Remember the exports of a template."""
        for output in _block(document.get("Outputs")).values():
            name = template.resolved(_block(_block(output).get("Export")).get("Name"))
            if isinstance(name, str) and len(self._exported) < MOST_EXPORTS:
                self._exported.setdefault(name, (template, _block(output).get("Value"), _ends(name)))

    def value(self, name: str, depth: int) -> Any:
        """What is exported by this name, None if nothing is. The part of a name that only AWS knows, such as that of a
        stack, may be any, as long as one export alone has a name like it."""
        if name not in self._known:
            self._known[name] = None
            ends = _ends(name)
            alike = [each for each, of in self._exported.items() if _alike(ends, each) or _alike(of[2], name)]
            alike = [name] if name in self._exported else alike
            if len(alike) == 1:
                template, value, _ = self._exported[alike[0]]
                self._known[name] = template.resolved(value, depth + 1)
        return self._known[name]


def _ends(name: str) -> tuple[str, str] | None:
    """What a name with placeholders starts and ends with; None for one without, or if it is nothing."""
    start, end = name.partition("${")[0], name.rpartition("}")[2]
    return (start, end) if placeholders(name) and (start or end) else None


def _alike(ends: tuple[str, str] | None, name: str) -> bool:
    """Whether a name starts and ends as another does."""
    return ends is not None and name.startswith(ends[0]) and name.endswith(ends[1])


def _block(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(text: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in text).strip("_")
