"""A real object store that speaks S3, on this machine: how the tests reach it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session
from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.probe import mark

from tests.fleet.process import Child, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS, SECRET = "pointsman", "a-secret-of-the-tests"
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store in a bucket: its URL, and the variables with the credentials for it."""

    url: str
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The object store at `url`, for whoever has ACCESS and SECRET."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables with the credentials for it."""
        return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": _REGION}

    def bucket(self, name: str, *, probed: bool = True) -> Bucket:
        """A new bucket. If it is `probed`, it has passed already, which saves half a minute."""
        client = self.client()
        client.create_bucket(Bucket=name)
        url = f"s3://{name}?endpoint={self.url}"
        if probed:
            key, data = mark(read_bucket_url(url))
            client.put_object(Bucket=name, Key=key, Body=data)
        return Bucket(url, self.environment)

    def client(self) -> "S3Client":
        """A client of it."""
        client: Any = get_session().create_client(
            "s3",
            region_name=_REGION,
            endpoint_url=self.url,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(
                max_pool_connections=32,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return client  # type: ignore[no-any-return]

    def wait_ready(self, child: Child, timeout: float = 120.0) -> None:
        """Return when it takes objects; `child` is its process."""
        client = self.client()

        def takes_objects() -> bool:
            try:
                with suppress(ClientError):  # it is there since before, or is missed by the next line
                    client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"")
            except (ClientError, BotoCoreError):
                return False
            return True

        wait_until(takes_objects, f"{child.name} to take objects", children=[child], timeout=timeout)
