"""The AWS session of the store and the notices: its clients share what it loads and the credentials it finds.

It is botocore's. boto3 adds nothing that is used here, and importing it takes as long again as botocore, at every cold
start of a function.
"""

from typing import TYPE_CHECKING, Any, Literal

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from pointsman.store.bucket_url import BucketUrl, region_of
from pointsman.store.protocol import StoreError

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client


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
    endpoint: str = "",
    hurried: bool = False,
) -> Any:
    """A client for `service` with that many connections, which makes each request at most `attempts` times.

    An attempt takes seven seconds at most, three if `hurried`. `region` and `endpoint` override the session's. Raises
    StoreError if no region is set, or a profile is missing.
    """
    # Other object stores than AWS's know these headers lately or not at all.
    checksums: Literal["when_required"] | None = "when_required" if endpoint else None
    config = Config(
        max_pool_connections=connections,
        connect_timeout=1 if hurried else 2,
        read_timeout=2 if hurried else 5,
        retries={"total_max_attempts": attempts},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )
    try:
        return session.create_client(service, region_name=region or None, endpoint_url=endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"no client for {service}: {error}: set AWS_REGION and AWS_PROFILE") from error


def s3_client(session: "Session", place: BucketUrl, *, connections: int, hurried: bool = False) -> "S3Client":
    """A client of the object store with the bucket `place`, for an S3Store. Raises StoreError as `new_client`."""
    region = region_of(place, session.get_config_variable("region"))
    # It makes each request once: the store itself retries, because it knows what a repeated write means.
    return new_client(  # type: ignore[no-any-return]
        session, "s3", connections=connections, attempts=1, region=region, endpoint=place.endpoint, hurried=hurried
    )
