"""Sends events to a control plane: to `pointsman up` over HTTP, to a bus of EventBridge, or to a queue of SQS."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson

from pointsman.agent.control_plane import Place, refusal
from pointsman.agent.outbox import Event, Refused
from pointsman.model.errors import InvalidInput, PointsmanError

_TRY_AGAIN: Final = frozenset({401, 403, 408, 429})
"""Answers that the same event may get no more later: a token is made and given rights while agents run."""


class Sender(Protocol):
    """Sends to one place."""

    async def send(self, event: Event) -> None:
        """Return when `event` is acknowledged. Raises Refused, or PointsmanError if it was not."""

    async def close(self) -> None:
        """Close connections."""


class Needs(Protocol):
    """What control planes want of an agent."""

    def overtaken(self, index: int) -> None:
        """What was said had no effect, because more was heard of its source up to `index`."""

    def all_again(self, why: str) -> None:
        """Everything has to be said again."""


class HttpSender:
    """To `pointsman up`, or the URL of a stack."""

    def __init__(self, control_plane: Place, needs: Needs, report: Callable[[str], None]) -> None:
        self._control_plane, self._needs, self._report = control_plane, needs, report
        self._store = ""

    async def send(self, event: Event) -> None:
        """Post the event."""
        status, told = await self._control_plane.ask("POST", "/v1/events", event)
        if status == 200:
            self._heed(told if isinstance(told, dict) else {})
        elif 400 <= status < 500 and status not in _TRY_AGAIN:
            raise Refused(refusal(status, told))
        else:
            raise PointsmanError(refusal(status, told))

    def _heed(self, told: dict[str, Any]) -> None:
        url, store = self._control_plane.url, str(told.get("store") or "")
        if store and self._store not in ("", store):
            self._needs.all_again(f"{url} has another store, or one that went back")
        self._store = store or self._store
        for each in told.get("stale") or ():
            self._needs.overtaken(int(each["heard_from"]["index"]))
        for warning in told.get("warnings") or ():
            self._report(f"{url}: {warning}")
        for each in told.get("refused") or ():
            self._report(f"{url} refused {each.get('id')}: {each.get('field')}: {each.get('reason')}")

    async def close(self) -> None:
        """Nothing to close: the control plane is closed by whoever opened it."""


class EventBridgeSender:
    """To a bus, whose rule leads to the functions. An accepted event is kept for a day, and not acknowledged by the
    mesh: what was changed is said again with the next two renewals."""

    def __init__(self, bus: str, client: Any) -> None:
        self._bus, self._client = bus, client

    async def send(self, event: Event) -> None:
        """Put the event on the bus."""
        entry = {
            "EventBusName": self._bus,
            "Source": "pointsman.agent",
            "DetailType": event["detail-type"],
            "Detail": orjson.dumps(event["detail"]).decode(),
        }
        answer = await _called(lambda: self._client.put_events(Entries=[entry]))
        if answer.get("FailedEntryCount"):
            raise PointsmanError(str(answer["Entries"][0].get("ErrorMessage")))

    async def close(self) -> None:
        """Nothing to close."""


class QueueSender:
    """To a queue that the functions read."""

    def __init__(self, url: str, client: Any) -> None:
        self._url, self._client = url, client

    async def send(self, event: Event) -> None:
        """Send the event as one message."""
        await _called(lambda: self._client.send_message(QueueUrl=self._url, MessageBody=orjson.dumps(event).decode()))

    async def close(self) -> None:
        """Nothing to close."""


def sender(place: str, control_plane: Place | None, needs: Needs, report: Callable[[str], None]) -> Sender:
    """The sender to `place`, which `is_http` accepts; `control_plane` is the one there, if it is one of
    HTTP."""
    if control_plane is not None:
        return HttpSender(control_plane, needs, report)
    # Imported here: who sends over HTTP needs no client of AWS.
    import boto3

    parts = urlsplit(place)
    if parts.scheme == "eventbridge":
        return EventBridgeSender(parts.netloc, boto3.client("events"))
    return QueueSender(f"https://{parts.netloc}{parts.path}", boto3.client("sqs"))


def is_http(place: str) -> bool:
    """Whether a control plane is spoken to over HTTP at `place`: `http(s)://…`, rather than `eventbridge://BUS` or
    `sqs://HOST/ACCOUNT/QUEUE`. Raises InvalidInput for anything else."""
    parts = urlsplit(place)
    if parts.scheme in ("http", "https") and parts.hostname:
        return True
    if parts.scheme in ("eventbridge", "sqs") and parts.netloc:
        return False
    reason = f'"{place[:80]}" is none of http(s)://HOST:PORT, eventbridge://BUS and sqs://HOST/ACCOUNT/QUEUE'
    raise InvalidInput.single("--to", "", reason)


async def _called(call: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return await asyncio.to_thread(call)
    except (BotoCoreError, ClientError) as error:
        raise PointsmanError(str(error)) from None
