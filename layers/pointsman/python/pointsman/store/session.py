"""The AWS session of the store and the notices: its clients share what it loads and the credentials it finds.

It is botocore's. boto3 adds nothing that is used here, and importing it takes as long again as botocore, at every cold
start of a function.
"""

import gzip
import os
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import JSONFileLoader, Loader
from botocore.session import get_session
from botocore.utils import parse_timestamp

from pointsman.store.bucket_url import BucketUrl, region_of
from pointsman.store.protocol import StoreError

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client


class _Descriptions(JSONFileLoader):
    """Reads botocore's descriptions of AWS's services with orjson, several times as fast as botocore itself."""

    def load_file(self, file_path: str) -> Any:
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            try:
                with opened(file_path + ending, "rb") as file:
                    return orjson.loads(file.read())
            except OSError:
                continue
        return None


class _Loader(Loader):
    """Finds the descriptions of one service without a look into the folders of all the others."""

    def list_available_services(self, type_name: str) -> list[str]:
        """The names of all services, also of those that have no description of this type."""
        return sorted({name for path in self.search_paths if os.path.isdir(path) for name in os.listdir(path)})


@cache
def _loader(path: str | None) -> Loader:
    """The loader of all sessions with this `AWS_DATA_PATH`: it keeps what it has read."""
    paths = [os.path.expanduser(os.path.expandvars(each)) for each in path.split(os.pathsep)] if path else None
    return _Loader(paths, file_loader=_Descriptions())


def _moment(text: Any) -> datetime:
    """The moment that an answer states. botocore reads dates with a parser for any form of them, which takes a tenth of
    a request's time, and the answer to each read of an object has one."""
    if isinstance(text, str) and text.endswith(" GMT"):
        try:
            return parsedate_to_datetime(text)
        except ValueError:
            pass
    return parse_timestamp(text)


def new_session() -> "Session":
    """A session with the environment's settings: region, profile or role, `AWS_ENDPOINT_URL`."""
    session = get_session()
    # What AWS's other libraries and its functions call it; botocore knows AWS_DEFAULT_REGION alone.
    if (region := os.environ.get("AWS_REGION")) and not os.environ.get("AWS_DEFAULT_REGION"):
        session.set_config_variable("region", region)
    # Of the time that the first client takes, half goes into finding and reading descriptions otherwise.
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return session


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
        # botocore composes its own twice for each request, of a dozen parts: a tenth of a request's time.
        user_agent="pointsman",
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
    client = new_client(
        session, "s3", connections=connections, attempts=1, region=region, endpoint=place.endpoint, hurried=hurried
    )
    client.meta.events.register_last("before-call.s3.PutObject", _in_one_go)
    return client  # type: ignore[no-any-return]


def _in_one_go(params: dict[str, Any], **_: object) -> None:
    """Send an object right behind the head of its request. botocore would send the head alone, wait until the store
    answers that it is willing (`Expect: 100-continue`), and only then send the object: a round trip more per write."""
    params["headers"].pop("Expect", None)
    if hasattr(params["body"], "read"):
        params["body"] = params["body"].read()
