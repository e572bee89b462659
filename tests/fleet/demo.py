"""`make demo`: watch real traffic move to another datacenter because of a health event, or of silence, and back."""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import cast, get_args

from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40
from tests.fleet.judge import Mode
from tests.fleet.mesh import DATACENTERS, Mesh
from tests.fleet.object_store import Bucket
from tests.fleet.process import FleetError, Ports
from tests.fleet.scenario import Began, Glance, News, Report, Step, Switched, dark, run
from tests.fleet.seaweedfs import SeaweedFS
from tests.fleet.ways import Tongue, Way

_MODES = {
    "local": "through the mesh gateways of s1's datacenter, then those of the target's",
    "remote": "through the mesh gateways of the target's datacenter",
    "dark": "through the mesh gateways of both datacenters; then one of them burns",
    "none": "straight to the instances, in the priority tiers of one cluster, under the primary's server name",
}
_LEASE_S = 3
_COLOURS = {"dc1": "36", "dc2": "33", "dc3": "35", "good": "32", "bad": "31", "bold": "1", "faint": "2"}


class Screen:
    """Lines for a person, in color only if a terminal shows them."""

    def __init__(self) -> None:
        self._color = sys.stdout.isatty()
        self._start = time.monotonic()

    def line(self, text: str = "") -> None:
        """Say `text`, now."""
        print(text, flush=True)

    def paint(self, text: str, color: str) -> str:
        """`text` in a color, which is a name of ours or a datacenter's."""
        return f"\033[{_COLOURS[color]}m{text}\033[0m" if self._color else text

    def tell(self, news: News) -> None:
        """Say what just happened."""
        match news:
            case Began(number, title):
                self.line()
                self.line(self.paint(f"{number}. {title}", "bold"))
            case Switched(datacenter, seconds, what):
                took = self.paint(_time(seconds), "bold")
                self.line(f"   {what}; first answer from {self.paint(datacenter, datacenter)} {took} later")
            case Glance(answers, failures):
                clock = self.paint(f"{time.monotonic() - self._start:5.1f} s", "faint")
                self.line(f"   {clock}  {self._traffic(answers, failures)}")
            case Step():
                self._step(news)

    def _step(self, step: Step) -> None:
        self.line(f"   answers   {self._traffic(step.answers, step.failures)}")
        self.line(f"   active    {self.paint(step.active.datacenter, step.active.datacenter)}: {step.active.why}")
        for point, names in step.names.items():
            self.line(f"   SNI       {', '.join(names)} at the {point}")
        if step.problems:
            for problem in step.problems:
                self.line(self.paint(f"   WRONG     {problem}", "bad"))

    def _traffic(self, answers: Mapping[str, int], failures: int) -> str:
        parts = [self.paint(f"{datacenter} {count}", datacenter) for datacenter, count in sorted(answers.items())]
        if failures:
            parts.append(self.paint(f"failed {failures}", "bad"))
        return "  ".join(parts) or "nothing"

    def verdict(self, report: Report, told: str) -> None:
        """Say how it went; `told` is the figure that counts."""
        self.line()
        self.line(told)
        if report.problems:
            self.line(self.paint(f"FAILED: {len(report.problems)} things went wrong", "bad"))
        else:
            self.line(self.paint("every answer came from the right datacenter, under the right server name", "good"))


def main() -> int:
    """Play the scenario; the exit code is 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    modes = ", ".join(get_args(Mode))
    parser.add_argument(
        "--mode",
        choices=[*get_args(Mode), "dark"],
        default="local",
        help=f"mesh gateway mode ({modes}), or local and a datacenter that burns (default: local)",
    )
    parser.add_argument("--envoy", choices=["1.40", "1.39"], default="1.40", help="Envoy's version (default: 1.40)")
    parser.add_argument("--store", choices=["file", "s3"], default="file", help="a file, or a bucket of SeaweedFS")
    parser.add_argument("--directory", type=Path, help="keep all logs and files here (default: a temporary directory)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)
    screen = Screen()
    screen.line(f"gateway mode {screen.paint(arguments.mode, 'bold')}: {_MODES[arguments.mode]}")
    screen.line(
        f"starting Pointsman and 7 Envoys {arguments.envoy}: "
        + ", ".join(f"{screen.paint(datacenter, datacenter)} on {ip}" for datacenter, ip in DATACENTERS.items())
    )
    way = Way(Tongue.FILES, {"1.40": ENVOY_1_40, "1.39": ENVOY_1_39}[arguments.envoy])
    try:
        with (
            _directory(arguments.directory) as directory,
            _bucket(arguments.store, directory, screen) as bucket,
            _mesh(arguments.mode, directory, way, bucket) as mesh,
        ):
            screen.line(
                "config entries applied: service-resolver s2 (fails over to dc2, then dc3), proxy-defaults (the mode)"
            )
            screen.line("s1 in dc1 asks s2 over a new connection every 2 ms, through its sidecar")
            if arguments.mode == "dark":
                screen.line(f"an agent in each datacenter checks every second, and has a lease of {_LEASE_S} s")
                report = dark(mesh, _LEASE_S, screen.tell, answers_per_step=600)
            else:
                report = run(mesh, screen.tell, answers_per_step=600)
    except FleetError as error:
        print(screen.paint(f"FAILED: {error}", "bad"), *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    screen.verdict(report, _dark(report) if arguments.mode == "dark" else _lit(report))
    return 1 if report.problems else 0


def _mesh(mode: str, directory: Path, way: Way, bucket: Bucket | None) -> Mesh:
    if mode == "dark":
        return Mesh("local", directory, way, bucket=bucket, lease_s=_LEASE_S)
    return Mesh(cast(Mode, mode), directory, way, bucket=bucket)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _lit(report: Report) -> str:
    return f"event to first answer from the new datacenter: median {_time(report.median_seconds)}"


def _dark(report: Report) -> str:
    took = report.steps[2].seconds or 0.0
    return f"death of dc2 to first answer from dc3, with nobody to say so: {_time(took)} (at most {_LEASE_S + 1} s)"


@contextlib.contextmanager
def _bucket(store: str, directory: Path, screen: Screen) -> Iterator[Bucket | None]:
    if store == "file":
        yield None
        return
    with Ports() as ports, SeaweedFS(directory, ports) as seaweedfs:
        seaweedfs.wait_ready()
        bucket = seaweedfs.bucket("mesh", probed=False)
        screen.line(f"the store is {bucket.url}, in SeaweedFS; the first who writes there probes it, for some seconds")
        yield bucket


@contextlib.contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="pointsman-demo-") as directory:
            yield Path(directory)
    else:
        wanted = wanted.absolute()
        wanted.mkdir(parents=True)
        yield wanted


def _exit(number: int, frame: FrameType | None) -> None:
    # As an exception, so that everything that was started is stopped.
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
