"""Plans of config: what a write would do, shown before it is made."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pointsman.cli.everywhere import try_all
from pointsman.cli.place import Place
from pointsman.cli.remote import Remote
from pointsman.cli.what_if import CODES, ask_remote, ask_what_if, tell
from pointsman.model.errors import InvalidInput

Plans = Mapping[str, Mapping[str, Any]]
"""What would happen, as `ask_what_if` tells it, at each control plane (by its URL), or in the store (by "")."""


def planned(
    place: Place, documents: Sequence[Mapping[str, Any]], *, owner: str, prune: bool, trust_domain: str
) -> Plans:
    """What it would do to write `documents` at `place`. Raises Lines if one of several refuses, or nobody answers."""
    if len(place.urls) < 2:
        told = ask_what_if(place, documents, owner=owner, prune=prune, trust_domain=trust_domain)
        return {next(iter(place.urls), ""): told}

    def ask(remote: Remote, only_try: bool) -> Any:
        return ask_remote(remote, documents, owner=owner, prune=prune)

    return {each.url: each.told for each in try_all(place.remotes, ask) if each.error is None}


def tell_plans(plans: Plans, as_json: bool) -> int:
    """Print what would happen, and return the exit code for the worst of it."""
    if as_json and len(plans) > 1:
        tell(plans, True)
    else:
        for url, told in plans.items():
            if len(plans) > 1:
                click.echo(f"{url}:")
            tell(told, as_json)
    results = {told["result"] for told in plans.values()}
    return CODES[next(each for each in ("nowhere", "changes", "nothing") if each in results)]


def may_go(plans: Plans, yes: bool) -> bool:
    """Whether what a prune removes may go; it is shown, and asked about unless `yes`, if anything goes."""
    goes = {url: told for url, told in plans.items() if any(each["what"] == "gone" for each in told["documents"])}
    if not goes:
        return True
    tell_plans(goes, False)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInput.single("apply --prune", "", "something goes, and nobody can be asked here: give --yes")
    return click.confirm("write that?", err=True)
