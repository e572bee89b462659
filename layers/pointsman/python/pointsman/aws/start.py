"""The start of the functions that write, once for each execution environment, before its first event."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.aws.environment import Environment, read_environment
from pointsman.aws.notices import notices_to
from pointsman.pipeline.engine import Engine
from pointsman.store.open import open_bucket
from pointsman.store.session import new_session

if TYPE_CHECKING:
    from botocore.session import Session

    from pointsman.store.s3 import S3Store


@dataclass(frozen=True, slots=True)
class Started:
    """What such a function works with. `session` is botocore's, for further clients with the same credentials."""

    environment: Environment
    session: "Session"
    store: "S3Store"
    engine: Engine


def start() -> Started:
    """An engine on the store in the environment, which publishes notices to the topic there.

    Raises PointsmanError if the environment is invalid.
    """
    environment = read_environment()
    session = new_session()
    store = open_bucket(environment.store, session)
    topic = environment.notices
    engine = Engine(store, notify=notices_to(topic, session), scope=environment.scope, notices=topic)
    return Started(environment, session, store, engine)
