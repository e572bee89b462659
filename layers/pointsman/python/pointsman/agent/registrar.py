"""Registers a host's sidecars and gateways with one control plane.

What is registered is shared by all hosts of a service. So a host writes only what its own files say anew, and not
again what it has written: two hosts whose files differ do not take turns. Now and then it looks whether what it wrote
is still there, writes what is missing, and tells people of what is different.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from pointsman.agent.control_plane import Place, refusal
from pointsman.agent.registered import Registered
from pointsman.agent.registrations import document, route
from pointsman.model.canonical import canonical, digest
from pointsman.model.errors import PointsmanError
from pointsman.model.owner import AGENTS
from pointsman.model.registration import Registration

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Seconds before the first and any later attempt after a failure. What is drawn lies between half of it and all."""

_AWAY: Final = frozenset({401, 408, 409, 429})
"""Refusals that are over some time: a token is made while agents run, and others write at the same moment."""


_OK, _FORBIDDEN, _MISSING = 200, 403, 404


def _is_there(status: int, told: Mapping[str, Any]) -> bool:
    return status == _OK and not told.get("changed")


class Registrar:
    """For one event loop. `report` gets a line for whatever is registered, refused, or different."""

    def __init__(self, place: Place, by: str, registered: Registered, report: Callable[[str], None]) -> None:
        """`by` is noted beside what is changed, and `registered` is what this host has written."""
        self._place, self._by, self._registered, self._report = place, by, registered, report
        self._wanted: dict[str, Registration] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._different: dict[str, str] = {}
        self._due, self._looks = asyncio.Event(), False
        self.problem = ""

    def want(self, registrations: Iterable[Registration]) -> None:
        """Write those of these that this host has not written yet."""
        self._wanted = {each.key: each for each in registrations}
        self._registered.keep(self._place.url, self._wanted)
        self._due.set()

    def look(self) -> None:
        """See whether what is registered is what was written, and try again what was refused."""
        self._looks = bool(self._wanted)
        self._due.set()

    async def run(self) -> None:
        """Do so, until it is cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            await self._due.wait()
            if await self.settle():
                pause = FIRST_PAUSE_S
                continue
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def settle(self) -> bool:
        """Do once what is due. Returns whether it is done; what is refused counts as done."""
        self._due.clear()
        try:
            await self._settle()
        except Exception as error:
            # Whatever it is, it holds nothing else back.
            if str(error) != self.problem:
                self._report(f"{self._place.url}: registrations wait: {error}")
            self.problem = str(error) or type(error).__name__
            self._due.set()
            return False
        if self.problem:
            self._report(f"{self._place.url}: registrations are taken again")
        self.problem = ""
        return True

    async def _settle(self) -> None:
        digests = {key: digest(canonical(document(each))) for key, each in self._wanted.items()}
        written = {key for key, found in digests.items() if self._registered.has(self._place.url, key, found)}
        refused = {} if self._looks else self._refused
        fresh = {
            key: each
            for key, each in self._wanted.items()
            if key not in written and refused.get(key, ("",))[0] != digests[key]
        }
        await self._write(fresh, digests)
        if self._looks:
            await self._compare({key: self._wanted[key] for key in sorted(written)}, digests)
        self._looks = False

    async def _write(self, wanted: Mapping[str, Registration], digests: Mapping[str, str]) -> None:
        if not wanted:
            return
        status, told = await self._put(wanted.values())
        if status == _OK:
            self._registered.note(self._place.url, {key: digests[key] for key in wanted})
            for key in wanted:
                self._refused.pop(key, None)
            if told.get("changed"):
                self._report(f"{self._place.url}: registered {', '.join(sorted(wanted))[:500]}")
        elif len(wanted) > 1:
            # One that is refused refuses the whole batch.
            for key, each in wanted.items():
                await self._write({key: each}, digests)
        else:
            for key in wanted:
                self._refuse(key, digests[key], refusal(status, told))

    def _refuse(self, key: str, found: str, reason: str) -> None:
        if self._refused.get(key) != (found, reason):
            self._report(f"{self._place.url} refused the registration {key}: {reason}")
        self._refused[key] = found, reason

    async def _compare(self, written: Mapping[str, Registration], digests: Mapping[str, str]) -> None:
        """Look whether what was written is there. To write it again for a try says so, with no other rights."""
        if not written or _is_there(*await self._put(written.values(), dry_run=True)):
            self._different.clear()
            return
        for key, each in written.items():
            status, told = await self._put([each], dry_run=True)
            if _is_there(status, told):
                self._different.pop(key, None)
            elif status == _FORBIDDEN:
                self._refuse(key, digests[key], refusal(status, told))
            elif (seen := (await self._ask("GET", route(each)))[0]) == _MISSING:
                await self._write({key: each}, digests)
            elif self._different.get(key) != digests[key]:
                self._different[key] = digests[key]
                why = f" ({refusal(status, told)})" if status != _OK else ""
                unseen = ", or not at all, which a token for read would tell" if seen == _FORBIDDEN else ""
                self._report(
                    f"{self._place.url}: {key} is registered otherwise than the files of this host say{why}{unseen}; "
                    "the last change counts: make the files of all hosts the same"
                )

    async def _put(self, registrations: Iterable[Registration], *, dry_run: bool = False) -> tuple[int, dict[str, Any]]:
        path = f"/v1/config?owner={AGENTS}&by={quote(self._by, safe='')}" + ("&dry_run=1" if dry_run else "")
        return await self._ask("PUT", path, [document(each) for each in registrations])

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        status, told = await self._place.ask(method, path, body)
        if status >= 500 or status in _AWAY:
            raise PointsmanError(refusal(status, told))
        return status, told if isinstance(told, dict) else {}
