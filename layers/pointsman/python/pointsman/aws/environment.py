"""Reads a function's environment variables, once at its start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pointsman.model.errors import PointsmanError
from pointsman.pipeline.scope import EVERYWHERE, Scope, read_scope
from pointsman.store.bucket_url import read_bucket_url

_REFRESH_DELAY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The variables that begin with POINTSMAN_; each function's docstring says which it reads.

    `store` is s3://bucket/prefix, `notices` the ARN of the topic, `scope` the datacenters to compute for,
    `dead_letters` and `queue` URLs of queues, `bus` the name of an event bus, `ecs_tasks` JSON, `sds` a value
    of `--sds`. An unset variable is "".
    """

    store: str
    notices: str = ""
    scope: Scope = EVERYWHERE
    trust_domain: str = ""
    dead_letters: str = ""
    ecs_tasks: str = ""
    queue: str = ""
    bus: str = ""
    refresh_delay_ms: int = round(_REFRESH_DELAY_S * 1000)
    sds: str = ""

    @property
    def bucket(self) -> str:
        """The name of the store's bucket."""
        return read_bucket_url(self.store).name

    @property
    def prefix(self) -> str:
        """The prefix of all keys in the bucket: "", or a text that ends in a slash."""
        return read_bucket_url(self.store).prefix


def read_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """The environment in `variables`. Raises PointsmanError if the store is not set, InvalidInput for an invalid
    value."""

    def text(name: str) -> str:
        return variables.get(f"POINTSMAN_{name}", "")

    if not text("STORE"):
        raise PointsmanError("POINTSMAN_STORE is not set: name the bucket, as s3://bucket/prefix")
    return Environment(
        store=text("STORE"),
        notices=text("NOTICES"),
        scope=read_scope(text("DATACENTERS"), "POINTSMAN_DATACENTERS"),
        trust_domain=text("TRUST_DOMAIN"),
        dead_letters=text("DEAD_LETTERS"),
        ecs_tasks=text("ECS_TASKS"),
        queue=text("QUEUE"),
        bus=text("BUS"),
        refresh_delay_ms=round(float(text("REFRESH_DELAY") or _REFRESH_DELAY_S) * 1000),
        sds=text("SDS"),
    )
