"""infra/template.yaml as CloudFormation would get it: translated from SAM, conditions and intrinsics worked out."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import orjson
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from tests.fleet.process import REPOSITORY

TEMPLATE = REPOSITORY / "infra/template.yaml"
ACCOUNT = "123456789012"
REGION = "eu-central-1"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::StackName": "pointsman"}

Resource = dict[str, Any]


class CloudFormationLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!GetAtt A.B` is {"Fn::GetAtt": ["A", "B"]}."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    value = getattr(loader, f"construct_{node.id}")(node, **({} if node.id == "scalar" else {"deep": True}))
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


CloudFormationLoader.add_multi_constructor("!", _short_form)


@cache
def source() -> dict[str, Any]:
    """The template as it is written."""
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(), CloudFormationLoader)
    return loaded


def translated(parameters: Mapping[str, str], change: Callable[[dict[str, Any]], object] | None = None) -> Resource:
    """What SAM makes of the template; `change` edits it before."""
    if change is None:
        # As text, since every stack gets its own; the translator takes a fifth of a second.
        unchanged: Resource = orjson.loads(_translated(tuple(sorted(parameters.items()))))
        return unchanged
    return _translate(parameters, change)


@cache
def _translated(parameters: tuple[tuple[str, str], ...]) -> bytes:
    return orjson.dumps(_translate(dict(parameters), lambda template: None))


def _translate(parameters: Mapping[str, str], change: Callable[[dict[str, Any]], object]) -> Resource:
    # A copy: the translator changes what it is given.
    template = copy.deepcopy(source())
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource["Properties"]:
                # As `sam package` leaves it: the translator takes no local paths.
                resource["Properties"][key] = f"s3://packages/{Path(resource['Properties'][key]).name}"
    change(template)
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    out: Resource = translator.translate(template, dict(parameters), {})
    return out


@dataclass
class Stack:
    """The resources of a stack with the given parameters. `refs` and `attributes` are the values of Ref and GetAtt,
    filled in by the code that creates the resources."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    refs: dict[str, Any] = field(default_factory=dict)
    attributes: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        template = translated(self.parameters)
        for name, parameter in template["Parameters"].items():
            value = self.parameters.get(name, parameter["Default"])
            self.refs[name] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value
        self.refs |= PSEUDO
        self.conditions: dict[str, Any] = template["Conditions"]
        self.outputs: dict[str, Any] = template["Outputs"]
        self.resources: dict[str, Resource] = {
            name: resource for name, resource in template["Resources"].items() if self.holds(resource.get("Condition"))
        }

    def of(self, kind: str) -> Iterator[tuple[str, Resource]]:
        """The resources of a type, with their properties as they are written."""
        return ((name, each["Properties"]) for name, each in self.resources.items() if each["Type"] == kind)

    def holds(self, condition: Any) -> bool:
        """Whether a condition, by its name or as an intrinsic, is true."""
        if condition is None:
            return True
        if isinstance(condition, str):
            return self.holds(self.conditions[condition])
        ((function, argument),) = condition.items()
        match function:
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::Equals":
                first, second = (self.value(each) for each in argument)
                return bool(str(first) == str(second))
            case "Condition":
                return self.holds(argument)
        raise AssertionError(f"{function}: teach tests/aws/template.py this condition")

    def value(self, value: Any) -> Any:
        """`value` with every intrinsic worked out. Raises KeyError for what is not made yet."""
        if isinstance(value, list):
            return [each for each in map(self.value, value) if each is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return _NO_VALUE if argument == "AWS::NoValue" else self.refs[argument]
            if function.startswith("Fn::"):
                return self._intrinsic(function, argument)
        return {key: worked for key, each in value.items() if (worked := self.value(each)) is not _NO_VALUE}

    def _intrinsic(self, function: str, argument: Any) -> Any:
        match function:
            case "Fn::GetAtt":
                return self.attributes[argument[0], argument[1]]
            case "Fn::Sub":
                text, more = (argument, {}) if isinstance(argument, str) else argument
                return self._substituted(text, self.value(more))
            case "Fn::Join":
                return argument[0].join(map(str, self.value(argument[1])))
            case "Fn::Split":
                return str(self.value(argument[1])).split(argument[0])
            case "Fn::If":
                return self.value(argument[1] if self.holds(argument[0]) else argument[2])
        raise AssertionError(f"{function}: teach tests/aws/template.py this intrinsic")

    def _substituted(self, text: str, more: Mapping[str, Any]) -> str:
        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name in more:
                return str(more[name])
            first, _, attribute = name.partition(".")
            return str(self.attributes[first, attribute] if attribute else self.refs[name])

        return re.sub(r"\$\{([^}]+)\}", one, text)


_NO_VALUE = object()
