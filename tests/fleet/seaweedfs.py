"""SeaweedFS, a real object store that speaks S3, as one child process."""

import json
import sys
from pathlib import Path

from tests.fleet.object_store import ACCESS, SECRET, Bucket, ObjectStore
from tests.fleet.process import Child, Ports

WEED = Path(sys.prefix, "bin", "weed")
_IP = "127.0.0.1"
_KEYS = {"accessKey": ACCESS, "secretKey": SECRET}
_ACTIONS = ["Admin", "Read", "Write", "List"]
_PARTS = ("master", "volume", "filer", "s3")


class SeaweedFS(Child):
    """A master, a volume server, a filer and an S3 gateway in one process, on ports of their own.

    Its files are in `directory`. It may be killed and started again, and then has what it had.
    """

    def __init__(self, directory: Path, ports: Ports, name: str = "seaweedfs") -> None:
        url, self._ports = "", list[int]()
        config, data = directory / f"{name}.json", directory / f"{name}-data"
        data.mkdir()
        identity = {"name": "tests", "credentials": [_KEYS], "actions": _ACTIONS}
        config.write_text(json.dumps({"identities": [identity]}))
        options = []
        for part in _PARTS:
            http, grpc = ports.take(_IP), ports.take(_IP)
            options += [f"-{part}.port={http}", f"-{part}.port.grpc={grpc}"]
            url = f"http://{_IP}:{http}"
            self._ports += [http, grpc]
        self.objects = ObjectStore(url)
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

    def bucket(self, name: str, *, probed: bool = True) -> Bucket:
        """A new bucket of it, as of any ObjectStore."""
        return self.objects.bucket(name, probed=probed)

    def stop(self, patience: float = 1.0) -> None:
        """End it, without waiting for its long good-bye; may be repeated."""
        super().stop(patience)
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # it has no option for them
                left.unlink(missing_ok=True)

    def wait_ready(self) -> None:
        """Return when it takes objects."""
        self.objects.wait_ready(self)
