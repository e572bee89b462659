"""Asks a running Consul for its configuration over its HTTP API. It only reads."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from pointsman.model.bounded_json import read_json
from pointsman.model.complaints import brief
from pointsman.model.consul_fields import KINDS_ELSEWHERE, KUBERNETES_KINDS
from pointsman.model.entries import KINDS
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.names import is_ip
from pointsman.model.words import counted
from pointsman.serve.access import Access, ClientTls
from pointsman.serve.ask import MOST_ANSWER_BYTES, Answer, NoAnswer, exchange
from pointsman.serve.listen import Listen

ANSWER_SECONDS: Final = 30.0
"""Seconds to wait for one answer. Consul itself gives up after less."""

MOST_TRIES: Final = 3
"""Tries of one request, where Consul answers that it has no time or no leader."""

MOST_SERVICES: Final = 20_000
"""Services of one datacenter: each is one request."""

_PAUSE_S: Final = 0.5
_AT_ONCE: Final = 4
_BUSY: Final = (429, 500, 502, 503, 504)
_FILTERED: Final = "x-consul-results-filtered-by-acls"
_OURS: Final = ("failover-policy", "namespace")
_ASKED: Final = tuple(sorted({*KINDS, *KINDS_ELSEWHERE} - {*_OURS, *KUBERNETES_KINDS}))
_PROXIES_ALONE: Final = 'ServiceKind != ""'
_NEEDED: Final = (
    ("/v1/config/", 'service_prefix "" { policy = "read", intentions = "read" } and mesh = "read"'),
    ("/v1/peerings", 'peering = "read"'),
    ("/v1/connect/intentions", 'service_prefix "" { policy = "read", intentions = "read" }'),
    ("/v1/", 'node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }'),
)
_READ_OF_AGENT: Final = ("ACLsEnabled", "ACLDefaultPolicy", "ACLResolverSettings", "DefaultIntentionPolicy")
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")

Sources = list[tuple[str, list[Any]]]


@dataclass(frozen=True, slots=True)
class Consul:
    """A Consul that was asked who it is: its URL, its version ("" if it does not say), all its datacenters."""

    url: str
    version: str
    datacenters: tuple[str, ...]
    agent: dict[str, Any]
    """What the agent that answered says of itself, as far as the import reads it."""


class Api:
    """Consul's API at a URL."""

    def __init__(
        self, url: str, access: Access, progress: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises InvalidInput for a URL that is none, and for what would not be sent there safely."""
        self._url = url if "://" in url or url.startswith("unix:") else f"http://{url}"
        self._progress, self._sleep = progress, sleep
        self._headers = {"accept": "application/json", "host": "localhost"}
        self._place: Listen | tuple[str, int]
        tls = self._url.startswith("https:")
        if self._url.startswith("unix:"):
            self._place, local = Listen.read(self._url.replace("unix://", "unix:", 1), "--url"), True
        else:
            try:
                parts = urlsplit(self._url)
                host, port = parts.hostname or "", parts.port
            except ValueError as error:
                raise InvalidInput.single("--url", "", f"{url}: {error}") from None
            more = parts.username or parts.query or parts.path.strip("/")
            if parts.scheme not in ("http", "https") or not host or more:
                raise InvalidInput.single("--url", "", f"{url} is neither http(s)://HOST:PORT nor unix:PATH")
            self._place, self._headers["host"] = (host, port or (443 if tls else 80)), parts.netloc
            local = host in _LOCAL or (is_ip(host) and host.startswith("127."))
        Access("" if local else access.token, access.ca, access.certificate, access.private_key).check(
            "--url", self._url, tls=tls
        )
        self._headers |= {"x-consul-token": access.token} if access.token else {}
        self._tls = ClientTls(access).context if tls else None

    def who(self) -> Consul:
        """Who answers there. Raises PointsmanError if it is no Consul, or does not let us ask."""
        try:
            if self._get("/v1/status/leader", refusable=True) == "":
                raise PointsmanError(f"{self._url} has no leader; ask when it has one")
            found = self._get("/v1/catalog/datacenters")
        except InvalidInput as error:
            raise PointsmanError(f"{self._url} is no Consul: {error}") from None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise PointsmanError(f"{self._url} is no Consul: /v1/catalog/datacenters is no list of names")
        own = self._get("/v1/agent/self", refusable=True)
        agent = {name: own.get(name) if isinstance(own, dict) else None for name in ("Config", "DebugConfig", "Member")}
        version = str(agent["Config"].get("Version") or "") if isinstance(agent["Config"], dict) else ""
        debug = agent["DebugConfig"] if isinstance(agent["DebugConfig"], dict) else {}
        agent["DebugConfig"] = {name: debug[name] for name in _READ_OF_AGENT if name in debug}
        return Consul(self._url, version, tuple(sorted(found)), agent if agent["Member"] else {})

    def all_of(self, consul: Consul, datacenters: Iterable[str]) -> Sources:
        """All answers that hold configuration: of the whole, and of the sidecars and gateways in `datacenters`."""
        found = [(f"{self._url}/v1/agent/self", [consul.agent])] if consul.agent else []
        found += self._entries(consul)
        if roots := self._get("/v1/connect/ca/roots", refusable=True, missing=_has_no_mesh):
            found.append((f"{self._url}/v1/connect/ca/roots", [roots]))
        if peers := self._get("/v1/peerings", missing=_has_no_peers):
            found.append((f"{self._url}/v1/peerings", self._list("/v1/peerings", peers)))
        for datacenter in datacenters:
            for namespace in self._namespaces(consul):
                found += self._proxies(datacenter, namespace)
        return found

    def _entries(self, consul: Consul) -> Iterator[tuple[str, list[Any]]]:
        query = {"ns": "*"} if "ent" in consul.version else {}
        for kind in _ASKED:
            self._progress(f"reading {kind}")
            path = f"/v1/config/{kind}"
            answer = self._get(path, query, missing=_is_unknown_kind)
            if answer is None and kind == "service-intentions":
                path = "/v1/connect/intentions"
                answer = self._get(path, query)
            if answer:
                yield self._url + path, self._list(path, answer)

    def _namespaces(self, consul: Consul) -> list[str]:
        if "ent" not in consul.version:
            return [""]
        return [str(each.get("Name")) for each in self._list("/v1/namespaces", self._get("/v1/namespaces") or [])]

    def _proxies(self, datacenter: str, namespace: str) -> Sources:
        query = {"dc": datacenter} | ({"ns": namespace} if namespace else {})
        services = self._get("/v1/catalog/services", query)
        if not isinstance(services, dict):
            raise PointsmanError(f"{self._url}/v1/catalog/services: was not answered with a mapping")
        if len(services) > MOST_SERVICES:
            reason = f"has {len(services)} services, {MOST_SERVICES} are the most; import from files (--help)"
            raise InvalidInput.single(f"datacenter {datacenter}", "", reason)
        done = 0

        def rows(name: str) -> tuple[str, list[Any]]:
            nonlocal done
            path = f"/v1/catalog/service/{quote(name, safe='')}"
            found = self._get(path, query | {"filter": _PROXIES_ALONE}, missing=_is_no_filter)
            if found is None:
                found = self._get(path, query)
            done += 1
            self._progress(f"{datacenter}: {done} of {counted(len(services), 'service')}")
            return f"{self._url}{path}?{urlencode(query)}", self._list(path, found)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return [each for each in pool.map(rows, sorted(services)) if each[1]]
            finally:
                pool.shutdown(cancel_futures=True)

    def _list(self, path: str, answer: Any) -> list[Any]:
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
            raise PointsmanError(f"{self._url}{path}: was not answered with a list of mappings")
        return answer

    def _get(
        self,
        path: str,
        query: Mapping[str, str] = {},
        *,
        missing: Callable[[Answer], bool] = lambda answer: False,
        refusable: bool = False,
    ) -> Any:
        """The JSON that answers; None if it is not there, or may not be read and that is `refusable`."""
        target = f"{path}?{urlencode(query)}" if query else path
        where = f"{self._url}{target}"
        answer = self._answer(target, missing)
        if answer.headers.get(_FILTERED) == "true":
            raise PointsmanError(f"{where}: the token may not read all of it; it needs {_needed(path)}")
        match answer.status:
            case 200:
                return read_json(answer.body, where, most_bytes=MOST_ANSWER_BYTES)
            case 404:
                return None
            case 401 | 403 if not refusable:
                raise PointsmanError(f"{where}: {_said(answer)}: the token (--token-file) needs {_needed(path)}")
            case 301 | 302 | 307 | 308:
                raise PointsmanError(f"{where} leads on to {brief(answer.headers.get('location'))}; give that as --url")
        if answer.status in (401, 403) or missing(answer):
            return None
        if "No path to datacenter" in _said(answer):
            reason = "Consul does not reach that datacenter; leave it out (--datacenters), or wait"
            raise PointsmanError(f"{where}: {reason}")
        raise PointsmanError(f"{where} was answered {answer.status}: {_said(answer)}")

    def _answer(self, target: str, missing: Callable[[Answer], bool]) -> Answer:
        for tried in range(1, MOST_TRIES + 1):
            try:
                answer = exchange(
                    self._place, "GET", target, timeout=ANSWER_SECONDS, headers=self._headers, tls=self._tls
                )
            except NoAnswer as error:
                raise PointsmanError(f"{self._url} cannot be reached: {error}") from None
            if tried == MOST_TRIES or answer.status not in _BUSY or missing(answer):
                break
            self._sleep(_PAUSE_S * tried)
        return answer


def _is_unknown_kind(answer: Answer) -> bool:
    """Whether this Consul is too old for a kind of entries."""
    return answer.status == 400 or (answer.status == 500 and "config entry kind" in _said(answer))


def _has_no_mesh(answer: Answer) -> bool:
    """Whether the service mesh is turned off."""
    return answer.status == 500 and "Connect must be enabled" in _said(answer)


def _has_no_peers(answer: Answer) -> bool:
    """Whether peering is turned off, or the Consul is too old for it."""
    return answer.status in (400, 405, 500, 501) and "peering" in _said(answer).lower()


def _is_no_filter(answer: Answer) -> bool:
    return answer.status == 400


def _said(answer: Answer) -> str:
    return " ".join(answer.body.decode(errors="replace").split())[:200]


def _needed(path: str) -> str:
    return next(needed for start, needed in _NEEDED if path.startswith(start))
