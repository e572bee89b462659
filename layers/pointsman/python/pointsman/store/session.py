"""AWS as the store and the notices use it: one session, whose clients share what it reads and the credentials it finds.

It is botocore's. boto3 adds nothing to a client that is used here, and importing it takes as long as all of botocore
again, which every cold start of a function would wait for.
"""

from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from pointsman.store.protocol import StoreError

if TYPE_CHECKING:
    from botocore.session import Session


def new_session() -> "Session":
    """A session with what the environment says: region, profile or role, `AWS_ENDPOINT_URL`."""
    return get_session()


def new_client(
    session: "Session",
    service: str,
    *,
    connections: int = 10,
    attempts: int = 3,
    region: str = "",
    hurried: bool = False,
) -> Any:
    """A client for `service` with that many connections, which makes each request at most `attempts` times.

    An attempt takes seven seconds at most, three where `hurried`. `region` is another one than the session's. Raises
    StoreError where nothing says which region to use, or a profile is not there.
    """
    config = Config(
        max_pool_connections=connections,
        connect_timeout=1 if hurried else 2,
        read_timeout=2 if hurried else 5,
        retries={"total_max_attempts": attempts},
    )
    try:
        return session.create_client(service, region_name=region or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"no client for {service}: {error}: set AWS_REGION and AWS_PROFILE") from error
