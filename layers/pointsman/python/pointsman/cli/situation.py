"""`pointsman render --jsonl`: reads recorded situations, writes resources, one line each."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict

from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.model.entries import key_of, parse_entry
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.names import is_trust_domain
from pointsman.model.registration import Registration, parse_registration
from pointsman.xds.rendered import Rendered, instances_of, render_gateway, render_sidecar


def rendered_lines(lines: Iterable[bytes | str]) -> Iterator[bytes]:
    """For each line (a situation as JSON) one line of resources, or one with an `error` if it cannot be rendered."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield orjson.dumps(_answer(number, line))


def _answer(number: int, line: bytes | str) -> dict[str, Any]:
    try:
        situation = orjson.loads(line)
        if not isinstance(situation, dict):
            raise InvalidInput.single(f"line {number}", "", "is not a JSON object")
        return render_situation(situation)
    except orjson.JSONDecodeError as error:
        return {"error": f"line {number}: is not JSON: {error}"}
    except PointsmanError as error:
        text = str(error)
        return {"error": text if text.startswith("line ") else f"line {number}: {text}"}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return {"error": f"line {number}: is not a situation: {error!r}"}


def render_situation(situation: Mapping[str, Any]) -> dict[str, Any]:
    """The resources of one situation in proto3 JSON.

    `writes` are applied in order, each validated against the writes accepted before it. `rejected` lists the indexes of
    the refused ones, `reasons` why. Raises InvalidInput if the situation lacks something that rendering needs.
    """
    trust_domain, datacenter = _text(situation, "trust_domain"), _text(situation, "datacenter")
    if not is_trust_domain(trust_domain):
        raise InvalidInput.single("situation", "trust_domain", f"{trust_domain!r} cannot stand in an SNI")
    entries, rejected = _apply(situation.get("writes") or [])
    registration = _proxy(situation, datacenter)
    instances = instances_of(situation.get("registrations") or {})
    render = render_gateway if registration.is_gateway else render_sidecar
    out = render(entries, registration, instances, trust_domain)
    return {"rejected": sorted(rejected), "reasons": {str(i): why for i, why in rejected.items()}} | as_json(out)


def as_json(rendered: Rendered) -> dict[str, Any]:
    """Resources as proto3 JSON, with the field names of the protobufs."""
    return {
        "clusters": [MessageToDict(each, preserving_proto_field_name=True) for each in rendered.clusters],
        "endpoints": [MessageToDict(each, preserving_proto_field_name=True) for each in rendered.endpoints],
        "listeners": [MessageToDict(each, preserving_proto_field_name=True) for each in rendered.listeners],
    }


def _text(situation: Mapping[str, Any], field: str) -> str:
    value = situation.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidInput.single("situation", field, "is required")
    return value


def _apply(writes: Iterable[Mapping[str, Any]]) -> tuple[EntrySet, dict[int, str]]:
    entries = EntrySet({})
    rejected: dict[int, str] = {}
    for index, write in enumerate(writes):
        try:
            entry = parse_entry(write["entry"])
        except InvalidInput as error:
            rejected[index] = str(error)
            continue
        after = entries.with_changes([entry])
        if problems := validate(after, [key_of(entry)]):
            rejected[index] = "; ".join(str(problem) for problem in problems)
        else:
            entries = after
    return entries, rejected


def _proxy(situation: Mapping[str, Any], datacenter: str) -> Registration:
    if gateway := situation.get("gateway"):
        service = {key: value for key, value in gateway.items() if key != "Name"}
        return parse_registration({"Datacenter": datacenter, "Service": service | {"Service": gateway.get("Name", "")}})
    proxy = situation.get("proxy")
    if not proxy:
        raise InvalidInput.single("situation", "proxy", "is required, or gateway")
    inner = {key: value for key, value in proxy.items() if key not in ("service", "id")}
    service = {
        "Kind": "connect-proxy",
        "ID": proxy.get("id", ""),
        "Service": f"{proxy.get('DestinationServiceName', '')}-sidecar-proxy",
        "Proxy": inner,
    }
    return parse_registration({"Datacenter": datacenter, "Service": service})
