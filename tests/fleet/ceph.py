"""A Ceph of one monitor, one OSD in memory and one gateway that speaks S3, where Debian's packages are installed."""

import shutil
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fleet.object_store import ACCESS, SECRET, ObjectStore
from tests.fleet.process import Child, FleetError, Ports, wait_listening

INSTALLED = all(map(shutil.which, ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")))
"""Whether the packages ceph-common, ceph-mon, ceph-osd and radosgw are."""

_IP = "127.0.0.1"
_WHO = {"mon.": ["mon"], "client.admin": ["mon", "osd", "mgr"], "osd.0": ["mon", "osd", "mgr"]}
_CONFIG = """[global]
fsid = {fsid}
mon host = [v2:{ip}:{mon2},v1:{ip}:{mon1}]
keyring = {directory}/keyring
run dir = {directory}
admin socket = {directory}/$name.asok
log file = {directory}/$name.log
crash dir = {directory}/crash
mon data = {directory}/mon
mon allow pool size one = true
mon warn on pool no redundancy = false
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
osd crush update on start = true
public addr = {ip}
cluster addr = {ip}
rgw data = {directory}/rgw
rgw frontends = beast endpoint={ip}:{rgw}
"""


class Ceph:
    """It runs while the `with` block lasts, on ports of its own, with its files in `directory`."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        taken = {name: ports.take(_IP) for name in ("mon1", "mon2", "rgw")}
        self._directory, self._config = directory, directory / "ceph.conf"
        self._fsid, self._rgw = str(uuid.uuid4()), taken["rgw"]
        self._monitor = f"[v2:{_IP}:{taken['mon2']},v1:{_IP}:{taken['mon1']}]"
        self._config.write_text(_CONFIG.format(fsid=self._fsid, directory=directory, ip=_IP, **taken))
        for part in ("mon", "osd", "rgw", "crash"):
            (directory / part).mkdir()
        self.objects = ObjectStore(f"http://{_IP}:{taken['rgw']}")
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with self._running as starting:
            self._start(starting)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _start(self, running: ExitStack) -> None:
        directory, monmap = self._directory, self._directory / "monmap"
        keyring = directory / "keyring"
        for number, (who, may) in enumerate(_WHO.items()):
            caps = [part for each in may for part in ("--cap", each, "allow *")]
            self._run("ceph-authtool", keyring, *["--create-keyring"][number:], "--gen-key", "-n", who, *caps)
        self._run("monmaptool", "--create", "--addv", "a", self._monitor, "--fsid", self._fsid, monmap)
        self._run("ceph-mon", "-c", self._config, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        running.enter_context(Child("mon", ["ceph-mon", "-c", self._config, "-i", "a", "-f"], directory))
        osd = str(uuid.uuid4())
        self._run("ceph", "-c", self._config, "osd", "new", osd)
        self._run("ceph-osd", "-c", self._config, "-i", "0", "--mkfs", "--osd-uuid", osd)
        running.enter_context(Child("osd", ["ceph-osd", "-c", self._config, "-i", "0", "-f"], directory))
        gateway = Child("rgw", ["radosgw", "-c", self._config, "-n", "client.admin", "-f"], directory)
        running.enter_context(gateway)
        wait_listening(gateway, _IP, self._rgw)
        user = ("--uid", "tests", "--display-name", "tests", "--access-key", ACCESS, "--secret-key", SECRET)
        self._run("radosgw-admin", "-c", self._config, "-n", "client.admin", "user", "create", *user)
        self.objects.wait_ready(gateway)

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise FleetError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr}")
