"""`make demo`: watch real traffic move to another datacenter because of a health event, or of silence, and back."""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from types import FrameType
from typing import cast, get_args

from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40
from tests.fleet.judge import Mode
from tests.fleet.keep import invitation, keep
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
_COLUMNS = 100
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
            case Began(number, title, expected):
                self.line()
                self.line(self.paint(f"{number}. {title}", "bold"))
                self._field("expected", expected)
            case Switched(datacenter, seconds, what, noticed):
                took = self.paint(_time(seconds - noticed), "bold")
                known = f"{_time(noticed)} later this was known, and {datacenter} published"
                self.line(f"   {what}; {known if noticed else 'Envoy itself went on before this was known'}")
                since = "after that" if noticed else "later"
                self.line(f"   first answer from {self.paint(datacenter, datacenter)} {took} {since}")
            case Glance(answers, failures):
                clock = self.paint(f"{time.monotonic() - self._start:5.1f} s", "faint")
                self.line(f"   {clock}  {self._traffic(answers, failures)}")
            case Step():
                self._step(news)

    def _step(self, step: Step) -> None:
        unknown = "  before it was known: nobody could help it" if step.failures and not step.problems else ""
        self._field("answers", self._traffic(step.answers, step.failures) + unknown)
        self._field("active", f"{step.active.datacenter}, because {step.active.why}")
        for point, names in step.names.items():
            self._field("SNI", f"{', '.join(names)} at the {point}")
        for problem in step.problems:
            self._field("WRONG", problem, "bad")

    def _field(self, name: str, text: str, color: str = "") -> None:
        for number, line in enumerate(wrap(text, _COLUMNS - 13)):
            whole = f"   {name if not number else '':10}{line}"
            self.line(self.paint(whole, color) if color else whole)

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
    parser.add_argument("--keep", action="store_true", help="then let everything run on, to try it, until Ctrl-C")
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
            Mesh(_gateways(arguments.mode), directory, way, bucket=bucket, lease_s=_LEASE_S) as mesh,
        ):
            screen.line(
                "config entries applied: service-resolver s2 (fails over to dc2, then dc3), proxy-defaults (the mode)"
            )
            screen.line("s1 in dc1 asks s2 over a new connection every 2 ms, through its sidecar")
            screen.line(f"an agent in each datacenter checks every second, and has a lease of {_LEASE_S} s")
            if arguments.mode == "dark":
                report = dark(mesh, _LEASE_S, screen.tell, answers_per_step=600)
            else:
                report = run(mesh, screen.tell, answers_per_step=600)
            screen.verdict(report, _dark(report) if arguments.mode == "dark" else _lit(report))
            if arguments.keep:
                mesh.rest()
                for line in ("", *invitation(mesh), ""):
                    screen.line(line)
                keep(mesh, screen.line)
    except FleetError as error:
        print(screen.paint(f"FAILED: {error}", "bad"), *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if report.problems else 0


def _gateways(mode: str) -> Mode:
    return "local" if mode == "dark" else cast(Mode, mode)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _lit(report: Report) -> str:
    since = "the death, or the decision," if any(not each.noticed for each in report.steps[1:]) else "the decision"
    return f"from {since} to the first answer from the new datacenter: median {_time(report.median_seconds)}"


def _dark(report: Report) -> str:
    burned = report.steps[2]
    took = (burned.seconds or 0.0) + burned.noticed
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
