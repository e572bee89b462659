"""Who changed the config, over HTTP."""

from collections.abc import Mapping

from pointsman.api.config import LONGEST_GENERATION
from pointsman.api.request import Answer, Api, Request
from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput
from pointsman.overview.generations import MOST_GENERATIONS, read_difference, read_log


def show_log(api: Api, request: Request) -> Answer:
    """Show the generations of the config, the newest first: when, by whom, what for, and what changed."""
    most = _number(request.parameters, "most")
    if most is not None and not 1 <= most <= MOST_GENERATIONS:
        raise InvalidInput.single("the URL", "most", f"is {most}; it is 1 to {MOST_GENERATIONS}")
    return Answer(200, (read_log(api.engine) if most is None else read_log(api.engine, most)).json())


def show_difference(api: Api, request: Request) -> Answer:
    """Show what differs between two generations of the config."""
    parameters = request.parameters
    found = read_difference(api.engine, _number(parameters, "before"), _number(parameters, "after"))
    return Answer(200, found.json())


def _number(parameters: Mapping[str, str], name: str) -> int | None:
    if (given := parameters.get(name)) is None:
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > LONGEST_GENERATION:
        raise InvalidInput.single("the URL", name, f"{shown(given)} is not a number")
    return int(given)
