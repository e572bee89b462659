"""SeaweedFS, a real object store that speaks S3, as one child process."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session
from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.probe import mark

from tests.fleet.process import Child, Ports, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WEED = Path(sys.prefix, "bin", "weed")
_IP = "127.0.0.1"
_KEYS = {"accessKey": "pointsman", "secretKey": "a secret of the tests"}
_ACTIONS = ["Admin", "Read", "Write", "List"]
_PARTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store in a bucket: its URL, and the variables with the credentials for it."""

    url: str
    environment: dict[str, str]


class SeaweedFS(Child):
    """A master, a volume server, a filer and an S3 gateway in one process, on ports of their own.

    Its files are in `directory`. It may be killed and started again, and then has what it had.
    """

    def __init__(self, directory: Path, ports: Ports, name: str = "seaweedfs") -> None:
        self.url, self._ports = "", list[int]()
        config, data = directory / f"{name}.json", directory / f"{name}-data"
        data.mkdir()
        identity = {"name": "tests", "credentials": [_KEYS], "actions": _ACTIONS}
        config.write_text(json.dumps({"identities": [identity]}))
        options = []
        for part in _PARTS:
            http, grpc = ports.take(_IP), ports.take(_IP)
            options += [f"-{part}.port={http}", f"-{part}.port.grpc={grpc}"]
            self.url = f"http://{_IP}:{http}"
            self._ports += [http, grpc]
        command: list[str | Path] = [
            WEED,
            "-logtostderr=true",
            "server",
            f"-dir={data}",
            f"-ip={_IP}",
            f"-ip.bind={_IP}",
            *options,
            "-filer",
            "-s3",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            "-volume.preStopSeconds=0",
        ]
        super().__init__(name, command, directory)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which an AWS client reaches it."""
        return {
            "AWS_ACCESS_KEY_ID": _KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": _KEYS["secretKey"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self, name: str, *, probed: bool = True) -> "Bucket":
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
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=_KEYS["accessKey"],
            aws_secret_access_key=_KEYS["secretKey"],
            config=Config(max_pool_connections=32, retries={"total_max_attempts": 1}),
        )
        return client  # type: ignore[no-any-return]

    def stop(self, patience: float = 1.0) -> None:
        """End it, without waiting for its long good-bye; may be repeated."""
        super().stop(patience)
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # it has no option for them
                left.unlink(missing_ok=True)

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Return when it takes objects."""
        client = self.client()

        def takes_objects() -> bool:
            try:
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"")
            except (ClientError, BotoCoreError):
                return False
            return True

        wait_until(takes_objects, "SeaweedFS to take objects", children=[self], timeout=timeout)
