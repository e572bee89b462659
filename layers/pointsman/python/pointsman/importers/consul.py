"""What Consul's configuration becomes: entries and registrations, and a report of every field of every source."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pointsman.chain.complaints import thing
from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.importers.consul_central import with_modes, with_protocols
from pointsman.importers.consul_fields import DENIED, LEFT_OUT, WRITE_INTENTIONS, Decider, denied_by, with_adds
from pointsman.importers.consul_intentions import KIND as INTENTIONS
from pointsman.importers.consul_intentions import of_rows
from pointsman.importers.consul_sidecars import Sidecars
from pointsman.importers.consul_units import INSTANCES, Gatherer, Unit
from pointsman.importers.consul_watches import watches
from pointsman.importers.imported import Imported
from pointsman.importers.pieces import Ledger, Piece
from pointsman.model.duration import duration_text
from pointsman.model.entries import Entry, EntryKey, entry_json, entry_shape, key_of, parse_entry, thing_of
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.intentions import ServiceIntentions
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import Registration, parse_registration, registration_json, registration_thing
from pointsman.model.shape import value_of

JSON = dict[str, Any]

MOST_ROUNDS: Final = 100
"""Rounds of leaving out what does not fit to what was left out before."""

_NO_SERVICE: Final = {"proxy-defaults": "proxy-defaults", "namespace": "namespaces"}
_DURATIONS: Final = ("ConnectTimeout", "RequestTimeout", "IdleTimeout", "TTL", "Interval", "BaseEjectionTime")
_EVERY_SERVICE: Final = "every-service"
_SHOWN: Final = 3
_TOGETHER: Final = "import it together with what it needs, or write it by hand (docs/config.md)"
_ANEW: Final = "correct it in Consul and import it again, or write it by hand (docs/config.md)"


def import_consul(
    sources: Iterable[tuple[str, list[Any]]], *, datacenter: str = "", names: Mapping[str, str] = {}, url: str = ""
) -> Imported:
    """Convert what is of Consul in `sources`: the name of each, and its documents.

    `datacenter` is that of registrations for which nothing names one; `names` gives services and datacenters other
    names, by their old ones. The watches post to the `pointsman up` at `url`; "" makes none.

    Raises InvalidInput if a source has nothing of Consul's, if one entry is there in two versions, or if nothing has
    one of the old names.
    """
    ledger = Ledger()
    gatherer = Gatherer(ledger)
    for name, documents in sources:
        gatherer.read(documents, name)
    return _Import(gatherer, ledger, datacenter, Decider(ledger, names)).run(names, url)


class _Import:
    def __init__(self, gatherer: Gatherer, ledger: Ledger, datacenter: str, decider: Decider) -> None:
        self._gatherer = gatherer
        self._ledger = ledger
        self._datacenter = datacenter
        self._decider = decider
        self._entries: dict[EntryKey, tuple[Entry, Unit]] = {}
        self._sidecars = Sidecars(ledger)
        self._different: list[Problem] = []

    def run(self, names: Mapping[str, str], url: str) -> Imported:
        found = [each for each in self._gatherer.units if each.kind == "registration"]
        entries = [each for each in self._gatherer.units if each.kind != "registration"]
        there = {str(value_of(each.body.plain(), "Name")) for each in entries if each.kind == INTENTIONS}
        rows = of_rows(self._gatherer.intentions, there, self._ledger)
        for unit in [*entries, *rows]:
            self._entry(unit)
        for unit in found:
            self._registration(unit)
        if self._different:
            raise InvalidInput(self._different)
        if unused := sorted(names.keys() - self._decider.renamed):
            raise InvalidInput.single("--name", "", f"nothing is called {unused[0]}; leave it out, or correct it")
        registrations = self._sidecars.registrations()
        self._default_action()
        self._namespaces(registrations)
        for key, entry in with_protocols({key: each for key, (each, _) in self._entries.items()}, self._ledger).items():
            self._entries[key] = (entry, self._entries[key][1])
        self._fitting()
        registrations = with_modes(registrations, (each for each, _ in self._entries.values()), self._ledger)
        self._remarks()
        imported = self._result(registrations, [*entries, *rows, *found])
        if url:
            old = {new: each for each, new in names.items()}
            known = [(old.get(each.datacenter, each.datacenter), each) for each in self._sidecars.instances()]
            imported.watches = watches(known, url)
        return imported

    def _entry(self, unit: Unit) -> None:
        self._decider.thing = _thing(unit)
        kept = with_adds(self._decider.decide(unit.body, entry_shape(unit.kind)), unit.adds)
        if kept is LEFT_OUT:
            return
        if unit.kind == INTENTIONS and not any(key.lower() == "sources" and kept[key] for key in kept):
            self._ledger.name(unit.whole, f"{_thing(unit)}: has no source that there is here", _ANEW)
            return
        try:
            entry = parse_entry(kept)
        except InvalidInput as error:
            self._refused(unit, error)
            denied = self._denied(kept) if unit.kind == INTENTIONS else None
            if denied is None:
                return
            entry = denied
        first, where = self._entries.setdefault(key_of(entry), (entry, unit))
        if where is unit:
            return
        if first != entry:
            place, other = _place(where.whole), _place(unit.whole)
            reason = f"is at {place} and, differently, at {other}; import only the one that holds"
            self._different.append(Problem(thing(key_of(entry)), "", reason))
        self._ledger.pass_over(unit.whole, f"is at {_place(where.whole)} already")

    @staticmethod
    def _denied(kept: JSON) -> Entry | None:
        """An entry that denies all that one is about that cannot be read; None if that cannot be read either."""
        names = {name: value_of(kept, name) for name in ("Kind", "Name", "Namespace")}
        try:
            return parse_entry(denied_by(names, ServiceIntentions))
        except InvalidInput:
            return None

    def _registration(self, unit: Unit) -> None:
        self._decider.thing = _thing(unit)
        kept = with_adds(self._decider.decide(unit.body, Registration), unit.adds)
        if kept is LEFT_OUT:
            return
        if not any(key.lower() == "datacenter" and kept[key] for key in kept):
            beside = self._gatherer.datacenters.get(os.path.dirname(unit.whole.file), set())
            where = next(iter(beside)) if len(beside) == 1 else self._datacenter
            if not where:
                self._ledger.name(
                    unit.whole, f"{_thing(unit)}: nothing says in which datacenter it is", "give it: --dc DC"
                )
                return
            kept["Datacenter"] = where
        try:
            registration = parse_registration(kept)
        except InvalidInput as error:
            self._refused(unit, error)
            return
        self._sidecars.add(registration, unit)

    def _refused(self, unit: Unit, error: InvalidInput, instead: str = _ANEW) -> None:
        said = [f"{each.field}: {each.reason}" if each.field else each.reason for each in error.problems]
        more = f" (and {len(said) - _SHOWN} more)" if len(said) > _SHOWN else ""
        reason = f"{_thing(unit)}: {'; '.join(said[:_SHOWN])}{more}"
        if unit.kind == INTENTIONS:
            for each in unit.sources():
                self._ledger.name(each, f"{reason}; {DENIED}", WRITE_INTENTIONS)
        else:
            self._ledger.name(unit.whole, reason, instead)

    def _default_action(self) -> None:
        """What Consul does with connections that no intention is about is an entry here."""
        action = self._gatherer.default_action
        if action == "deny":
            every = {"Name": "*", "Namespace": "*"}
            entry = parse_entry({"Kind": INTENTIONS, **every, "Sources": [{**every, "Action": "deny"}]})
            if key_of(entry) not in self._entries:
                self._entries[key_of(entry)] = (entry, _nowhere(INTENTIONS))
            said = f"Consul denies what no intention allows; here {thing(key_of(entry))} says so"
            self._ledger.remarks.append(said)
        elif not action and any(kind == INTENTIONS for kind, _, _ in self._entries):
            self._ledger.remarks.append(
                "nothing says what Consul does where there is no intention, and here that is allowed; if Consul denies "
                f'it, add an entry of Kind {INTENTIONS} and Name "*" that denies the source "*"'
            )

    def _namespaces(self, registrations: Iterable[Registration]) -> None:
        """Namespaces have an entry of their own here."""
        used = {each.namespace for each, _ in self._entries.values()}
        for each in registrations:
            used |= {each.service.namespace, *(up.destination_namespace for up in each.service.proxy.upstreams)}
        for entry, _ in list(self._entries.values()):
            used |= _named_namespaces(entry_json(entry))
        for name in sorted(used - {DEFAULT_NAMESPACE, "", "*"}):
            key = ("namespace", DEFAULT_NAMESPACE, name)
            if key not in self._entries:
                self._entries[key] = (parse_entry({"Kind": "namespace", "Name": name}), _nowhere("namespace"))

    def _fitting(self) -> None:
        """Leave out the entries that do not fit to the others any more, because something else was left out."""
        problems: list[Problem] = []
        for _ in range(MOST_ROUNDS):
            problems = validate(EntrySet.of(each for each, _ in self._entries.values()), self._entries)
            by_thing = {thing(key): key for key in self._entries}
            wrong = {by_thing[each.thing]: each for each in problems if each.thing in by_thing}
            if not problems:
                return
            if not wrong:
                raise InvalidInput(problems)
            for key, problem in wrong.items():
                entry, unit = self._entries.pop(key)
                self._refused(unit, InvalidInput([problem]), _TOGETHER)
                if unit.kind == INTENTIONS and (denied := self._denied(entry_json(entry))) not in (None, entry):
                    self._entries[key] = (denied, unit)
        raise InvalidInput([*problems, Problem("the import", "", f"does not fit together in {MOST_ROUNDS} rounds")])

    def _remarks(self) -> None:
        for name, where in self._gatherer.trust_domains.items():
            self._ledger.remarks.append(
                f"{where}: the trust domain is {name}; to keep it, give it at the first apply: --trust-domain {name}"
            )
        for old in sorted(self._decider.renamed):
            self._ledger.remarks.append(f"{old} has another name here, so it has in server names and certificates")

    def _result(self, registrations: list[Registration], units: list[Unit]) -> Imported:
        files: dict[str, list[JSON]] = {}
        for key, (entry, unit) in sorted(self._entries.items(), key=lambda item: item[0]):
            kind, namespace, name = key
            file = _NO_SERVICE.get(kind) or _file(namespace, name)
            files.setdefault(file, []).append(_readable(entry_json(entry), parse_entry))
            self._ledger.convert(unit.body, thing(key))
        for each in registrations:
            file = "mesh-gateways" if each.is_gateway else _file(each.destination.namespace, each.destination.name)
            files.setdefault(file, []).append(_readable(registration_json(each), parse_registration))
        imported = Imported(dict(sorted(files.items())), self._ledger)
        for unit in units:
            reason = INSTANCES if unit.kind == "registration" else "says where it comes from"
            for piece in unit.whole.value.values():
                self._ledger.pass_over(piece, reason)
            imported.count(unit.kind, unit.shape, [unit.whole])
        for piece, reason in self._gatherer.rest:
            self._ledger.pass_over(piece, reason)
        for kind, shape, piece in self._gatherer.seen:
            imported.count(kind, shape, [piece])
        return imported


def _readable(document: JSON, parse: Callable[[JSON], Any]) -> JSON:
    """The document as people write it: with durations as text."""
    found: JSON = _durations(document)
    return found if parse(found) == parse(document) else document


def _durations(value: Any) -> Any:
    if isinstance(value, list):
        return [_durations(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: duration_text(each) if isinstance(each, int) and key in _DURATIONS else _durations(each)
        for key, each in value.items()
    }


def _named_namespaces(value: Any) -> set[str]:
    """The namespaces that an entry names."""
    if isinstance(value, dict):
        own = {value["Namespace"]} if isinstance(value.get("Namespace"), str) else set()
        return own.union(*map(_named_namespaces, value.values()))
    return set().union(*map(_named_namespaces, value)) if isinstance(value, list) else set()


def _thing(unit: Unit) -> str:
    """How the report names it."""
    said = with_adds(unit.body.plain(), unit.adds)
    if unit.kind == "registration":
        return registration_thing(said)
    return thing_of({"Kind": unit.kind, "Name": value_of(said, "Name"), "Namespace": value_of(said, "Namespace")})


def _nowhere(kind: str) -> Unit:
    """Where an entry comes from that no source has."""
    return Unit(kind, "", Piece("", "", {}), Piece("", "", {}))


def _file(namespace: str, name: str) -> str:
    if name == "*":
        return _EVERY_SERVICE
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}.{name}"


def _place(piece: Piece) -> str:
    return f"{piece.file} {piece.path}".strip()
