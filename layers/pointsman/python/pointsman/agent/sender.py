"""Sends events to a control plane: to `pointsman up` over HTTP, to a bus of EventBridge, or to a queue of SQS."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson

from pointsman.agent.outbox import Event, Refused
from pointsman.agent.probe import reason
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.access import NO_ACCESS, Access, ClientTls

PATIENCE_S: Final = 30.0
"""Seconds to wait for an acknowledgment."""
MOST_ANSWER_BYTES: Final = 1024 * 1024
"""Bytes of an answer."""


_TRY_AGAIN: Final = frozenset({401, 403, 408, 429})
"""Answers that the same event may get no more later: a token is made and given rights while agents run."""


class Sender(Protocol):
    """Sends to one place."""

    async def send(self, event: Event) -> None:
        """Return when `event` is acknowledged. Raises Refused, or PointsmanError if it was not."""

    async def close(self) -> None:
        """Close connections."""


class HttpSender:
    """To `pointsman up`. `stale` gets the index that an event would have needed to have its effect."""

    def __init__(
        self,
        url: str,
        stale: Callable[[int], None],
        report: Callable[[str], None],
        access: Access = NO_ACCESS,
    ) -> None:
        """Raises InvalidInput if a file of `access` cannot be read, or it would be sent without TLS."""
        self._url = f"{url.rstrip('/')}/v1/events"
        self._stale, self._report = stale, report
        has_tls = url.startswith("https:")
        access.check("--to", url, tls=has_tls)
        self._tls = ClientTls(access) if has_tls else None
        self._headers = {"content-type": "application/json"} | access.headers()
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))

    async def send(self, event: Event) -> None:
        """Post the event."""
        if self._tls is not None:
            try:
                self._tls.refresh()
            except PointsmanError as error:
                self._report(f"keeping the old certificate: {error}")
        tls = self._tls.context if self._tls is not None else True
        try:
            data = orjson.dumps(event)
            async with self._http.post(self._url, data=data, headers=self._headers, ssl=tls) as answer:
                body = await _whole(answer.content)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise PointsmanError(reason(error) or f"no answer within {PATIENCE_S:g} s") from None
        told = _read(body)
        if answer.status == 200:
            self._heed(told)
        elif 400 <= answer.status < 500 and answer.status not in _TRY_AGAIN:
            raise Refused(str(told.get("error") or f"it answered {answer.status}"))
        else:
            raise PointsmanError(str(told.get("error") or f"it answered {answer.status}"))

    def _heed(self, told: dict[str, Any]) -> None:
        for each in told.get("stale") or ():
            self._stale(int(each["heard_from"]["index"]))
        for warning in told.get("warnings") or ():
            self._report(f"{self._url}: {warning}")
        for each in told.get("refused") or ():
            self._report(f"{self._url} refused {each.get('id')}: {each.get('field')}: {each.get('reason')}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


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


def sender(
    place: str,
    stale: Callable[[int], None],
    report: Callable[[str], None],
    access: Access = NO_ACCESS,
) -> Sender:
    """The sender to `place`: `http(s)://…`, `eventbridge://BUS` or `sqs://HOST/ACCOUNT/QUEUE`. Raises InvalidInput."""
    parts = urlsplit(place)
    if parts.scheme in ("http", "https") and parts.hostname:
        return HttpSender(place, stale, report, access)
    if parts.scheme in ("eventbridge", "sqs") and parts.netloc:
        # Imported here: who sends over HTTP needs no client of AWS.
        import boto3

        if parts.scheme == "eventbridge":
            return EventBridgeSender(parts.netloc, boto3.client("events"))
        return QueueSender(f"https://{parts.netloc}{parts.path}", boto3.client("sqs"))
    reason = f'"{place[:80]}" is none of http(s)://HOST:PORT, eventbridge://BUS and sqs://HOST/ACCOUNT/QUEUE'
    raise InvalidInput.single("--to", "", reason)


async def _called(call: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return await asyncio.to_thread(call)
    except (BotoCoreError, ClientError) as error:
        raise PointsmanError(str(error)) from None


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            raise PointsmanError(f"it answered with more than {MOST_ANSWER_BYTES} bytes")
    return bytes(body)


def _read(body: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
