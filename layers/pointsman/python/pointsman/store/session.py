"""The AWS session of the store and the notices: its clients share what it loads and the credentials it finds.

It is botocore's. boto3 adds nothing that is used here, and importing it takes as long again as botocore, at every cold
start of a function.
"""

from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from pointsman.store.protocol import StoreError

if TYPE_CHECKING:
    from botocore.session import Session


def new_session() -> "Session":
    """A session with the environment's settings: region, profile or role, `AWS_ENDPOINT_URL`."""
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

    An attempt takes seven seconds at most, three if `hurried`. `region` overrides the session's. Raises StoreError if
    no region is set, or a profile is missing.
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
