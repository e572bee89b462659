"""Config entries and registrations, over HTTP."""

from collections.abc import Mapping
from typing import Any

from pointsman.api.request import Answer, Api, Declined, Request, switched_on
from pointsman.model import keys
from pointsman.model.complaints import brief
from pointsman.model.entries import KINDS, EntryKey, entry_json
from pointsman.model.errors import InvalidInput
from pointsman.model.grants import Grant, Role
from pointsman.model.loading import load_bytes
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.note import Note, checked_message
from pointsman.model.registration import Registration
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.configure import Batch, Configured, Outdated, configure, parse_documents, rollback

LONGEST_GENERATION = 18
"""Digits of a generation's number, far more than any store needs."""

_FORMATS = {"yaml": "the body.yaml", "hcl": "the body.hcl"}


def write(api: Api, request: Request) -> Answer:
    """Write documents, all of them or none."""
    parameters = request.parameters
    note = _note(request, parameters)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower().rpartition("/")[2]
    documents = load_bytes(request.body, _FORMATS.get(kind.removeprefix("x-"), "the body.json"))
    batch = parse_documents(documents, owner=parameters.get("owner", ""), datacenter=parameters.get("dc", ""))
    prune, dry_run = switched_on(parameters, "prune"), switched_on(parameters, "dry_run")
    _check_documents(request.grant, batch, prune=prune)
    try:
        done = configure(
            api.engine,
            batch,
            prune=prune,
            generation=_generation(parameters["generation"]) if "generation" in parameters else None,
            trust_domain=api.trust_domain,
            dry_run=dry_run,
            note=note,
            progress=api.progress,
        )
    except Outdated as error:
        return Answer(409, {"error": str(error), "problems": [str(problem) for problem in error.problems]})
    return _written(done, dry_run)


def _check_documents(grant: Grant, batch: Batch, *, prune: bool) -> None:
    if grant.has(Role.CONFIGURE):
        return
    if prune:
        raise Declined(403, f"{grant.who} may write registrations alone: to prune it needs the role configure")
    if batch.entries:
        raise Declined(
            403, f"{grant.who} may write registrations alone: for config entries it needs the role configure"
        )
    _check_owner(grant, batch.owner)
    for each in batch.registrations:
        if each.is_gateway:
            reason = grant.refuses_gateway(each.datacenter, each.service.id)
        else:
            reason = grant.refuses_sidecar(each.datacenter, each.destination)
        if reason:
            raise Declined(403, reason)


def _check_owner(grant: Grant, owner: str) -> None:
    """Raise Declined if `grant` is to change what others own, which an operator may, and nobody who registers."""
    if not owner and not grant.has(Role.CONFIGURE):
        raise Declined(403, f"{grant.who} may write as an owner alone: say as which, with ?owner=agent")


def show_all(api: Api, request: Request) -> Answer:
    """Show the whole config, or one kind of documents."""
    kind = request.parameters.get("kind", "")
    if kind not in ("", "registration", *KINDS):
        raise InvalidInput.single("kind", "", f'"{brief(kind)}" is none of {", ".join([*KINDS, "registration"])}')
    config = _current(api)
    entries = [entry_json(entry) for entry in config.entries if kind in ("", entry.kind)]
    registrations = config.registrations.values() if kind in ("", "registration") else ()
    return Answer(200, [*entries, *map(_as_written, registrations)])


def show(api: Api, request: Request) -> Answer:
    """Show a config entry."""
    key = _entry(request, request.parameters)
    entry = _current(api).entries.get(key)
    if entry is None:
        raise _missing(f'{key[0]} "{brief(key[2])}"')
    return Answer(200, entry_json(entry))


def show_registration(api: Api, request: Request) -> Answer:
    """Show the registration of a sidecar or a mesh gateway."""
    name, key = _registration(request, request.parameters)
    found = _current(api).registrations.get(key)
    if found is None:
        raise _missing(f"registration {brief(name)}")
    return Answer(200, _as_written(found))


def delete(api: Api, request: Request) -> Answer:
    """Delete a config entry, unless the rest of the config needs it."""
    parameters = request.parameters
    key = _entry(request, parameters)
    if _current(api).entries.get(key) is None:
        raise _missing(f'{key[0]} "{brief(key[2])}"')
    batch = Batch(delete_entries=[key], owner=parameters.get("owner", ""))
    return _written(configure(api.engine, batch, note=_note(request, parameters), progress=api.progress))


def delete_registration(api: Api, request: Request) -> Answer:
    """Delete the registration of a sidecar or a mesh gateway."""
    parameters = request.parameters
    name, key = _registration(request, parameters)
    gateway = request.values.get("id")
    if gateway is None:
        service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, name)
        reason = request.grant.refuses_sidecar(parameters["dc"], service)
    else:
        reason = request.grant.refuses_gateway(parameters["dc"], gateway)
    if reason:
        raise Declined(403, reason)
    _check_owner(request.grant, parameters.get("owner", ""))
    if key not in _current(api).registrations:
        raise _missing(f"registration {brief(name)}")
    batch = Batch(delete_registrations=[key], owner=parameters.get("owner", ""))
    return _written(configure(api.engine, batch, note=_note(request, parameters), progress=api.progress))


def roll_back(api: Api, request: Request) -> Answer:
    """Make an earlier generation the config again, as a new one."""
    note = _note(request, request.parameters)
    generation = _generation(request.values["generation"])
    return _written(rollback(api.engine, generation, note=note, progress=api.progress))


def _generation(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > LONGEST_GENERATION:
        raise InvalidInput.single(f"generation {brief(text)}", "", "is not the number of a generation")
    return int(text)


def _note(request: Request, parameters: Mapping[str, str]) -> Note:
    """What is noted beside the new generation. Raises InvalidInput."""
    return Note(request.by(parameters.get("by", "")), checked_message(parameters.get("message", "")))


def _written(done: Configured, dry_run: bool = False) -> Answer:
    return Answer(200, done.json() | ({"dry_run": True} if dry_run else {}))


def _current(api: Api) -> Config:
    return api.engine.config(load_root(api.engine.objects, api.engine.refresh().root))


def _entry(request: Request, parameters: Mapping[str, str]) -> EntryKey:
    kind = request.values["kind"]
    if kind not in KINDS:
        raise InvalidInput.single("kind", "", f'"{brief(kind)}" is none of {", ".join([*KINDS, "registration"])}')
    return kind, parameters.get("namespace") or DEFAULT_NAMESPACE, request.values["name"]


def _registration(request: Request, parameters: Mapping[str, str]) -> tuple[str, str]:
    """The name of the registration that is asked for, and its key."""
    gateway = request.values.get("id")
    name = request.values["name"] if gateway is None else f"gateway/{gateway}"
    if not parameters.get("dc"):
        raise InvalidInput.single(f"registration {brief(name)}", "dc", "is missing: name the datacenter, as ?dc=dc1")
    return name, keys.registration_key(parameters["dc"], parameters.get("namespace") or DEFAULT_NAMESPACE, name)


def _as_written(registration: Registration) -> dict[str, Any]:
    """A registration in the form that PUT accepts."""
    return registration.model_dump(by_alias=True, exclude_defaults=True)


def _missing(thing: str) -> Declined:
    return Declined(404, f"{thing}: does not exist; GET /v1/config shows what does")
