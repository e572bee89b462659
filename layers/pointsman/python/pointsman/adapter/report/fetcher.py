"""Who fetches from an adapter, and what each has been sent and not yet taken."""

from typing import NamedTuple

from pointsman.discovery.proxy import ProxyId


class Waiting(NamedTuple):
    """Something that an Envoy was sent, or that its files lack: `kind` is clusters, endpoints or listeners, `name` a
    resource ("" for several). `token` is that of the answer; another one is another answer. `reason` is why, if that is
    known."""

    kind: str
    name: str
    token: str
    reason: str = ""


class Fetcher(NamedTuple):
    """An Envoy (`node`), or the files of one (""), that fetches over `way` as `proxy`, and what it waits for or has to
    confirm. Some of that is normal: an answer is always on its way for a moment. `static` is why intentions do not
    reach it, "" if they do, or there are none."""

    way: str
    proxy: ProxyId
    node: str
    waiting: tuple[Waiting, ...] = ()
    static: str = ""
