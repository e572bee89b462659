"""One control plane over HTTP: `pointsman up`, or the URL of a stack."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import aiohttp
import orjson

from pointsman.agent.probe import reason
from pointsman.model.errors import PointsmanError
from pointsman.serve.access import NO_ACCESS, Access, ClientTls

PATIENCE_S: Final = 30.0
"""Seconds to wait for an answer."""
MOST_ANSWER_BYTES: Final = 1024 * 1024
"""Bytes of an answer."""


class Place(Protocol):
    """Where a control plane is asked."""

    url: str

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the answer. Raises PointsmanError if there is none."""


class ControlPlane:
    """Asks one control plane. For one event loop; `close` ends its connections."""

    def __init__(self, url: str, report: Callable[[str], None], access: Access = NO_ACCESS) -> None:
        """Raises InvalidInput if a file of `access` cannot be read, or it would be sent without TLS."""
        self.url = url.rstrip("/")
        self._report = report
        has_tls = url.startswith("https:")
        access.check("--to", url, tls=has_tls)
        self._tls = ClientTls(access) if has_tls else None
        self._headers = {"content-type": "application/json"} | access.headers()
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status of the answer, and what it says: parsed JSON, {} if it is none. Raises PointsmanError if there is
        no answer."""
        if self._tls is not None:
            try:
                self._tls.refresh()
            except PointsmanError as error:
                self._report(f"keeping the old certificate: {error}")
        tls = self._tls.context if self._tls is not None else True
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._http.request(
                method, f"{self.url}{path}", data=data, headers=self._headers, ssl=tls
            ) as answer:
                return answer.status, _read(await _whole(answer.content))
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise PointsmanError(reason(error) or f"no answer within {PATIENCE_S:g} s") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def refusal(status: int, told: Any) -> str:
    """Why something was not done, from the answer."""
    error = told.get("error") if isinstance(told, dict) else None
    return str(error or f"it answered {status}")


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            raise PointsmanError(f"it answered with more than {MOST_ANSWER_BYTES} bytes")
    return bytes(body)


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
