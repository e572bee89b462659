"""The page for those who come with static files of Envoy's: as it is typed, with real processes and Envoys."""

import contextlib
import http.server
import os
import re
import shlex
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_40
from tests.fleet.process import Child, Ports, wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.soak]

PAGE = (Path(__file__).parents[2] / "docs" / "from-files.md").read_text()
BIN = Path(sys.executable).parent
BACKGROUND = ("envoy ", "pointsman up ", "pointsman agent ")
CODES = {"--plan": 4, "shadow": 3}
"""The exit codes that the page tells of; all others are 0."""


def steps() -> Iterator[tuple[str, str]]:
    """What a reader does with the page: (path, content) of a file to write, ("$", command), ("", what is answered),
    (">", what the command before prints, among other lines)."""
    path = kind = ""
    body: list[str] = []
    for line in PAGE.splitlines():
        if line == "```":
            text = "\n".join(body)
            if kind == "sh":
                yield from (("$", each) for each in text.replace("\\\n", " ").splitlines())
            else:
                yield ({"text": "", "console": ">"}.get(kind, path), f"{text}\n")
            kind, body = "", []
        elif line.startswith("```"):
            kind = line.removeprefix("```")
        elif kind:
            body.append(line)
        elif named := re.findall(r"`((?:config|services|old)/[\w/-]+\.(?:hcl|yaml))`", line):
            path = named[-1]


class Walk:
    """Who types what the page says, in `directory`, with other ports."""

    def __init__(self, directory: Path, ports: dict[str, str], held: contextlib.ExitStack) -> None:
        self.directory, self.ports, self.held = directory, ports, held
        self.running: list[tuple[str, Child]] = []
        self.asked = self.said = ""

    def moved(self, text: str) -> str:
        """The text with the ports of this run."""
        return re.sub(r"\b(" + "|".join(self.ports) + r")\b", lambda found: self.ports[found[1]], text)

    def types(self, line: str) -> None:
        """Run one command as a shell would; what runs on is waited for until it is ready."""
        command = self.moved(line)
        if command.startswith(BACKGROUND) and "--validate" not in command:
            self._start(command)
        elif command.startswith("curl "):
            self.asked = command.split()[-1]
        else:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.directory,
                env=_environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            self.said = done.stdout
            wanted = next((code for word, code in CODES.items() if word in command.split()), 0)
            assert done.returncode == wanted, f"{command}\n{done.stdout}{done.stderr}"

    def answers(self, wanted: str) -> None:
        """What was asked last answers that, sooner or later."""

        def said() -> str:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.asked, timeout=10) as answer:
                return str(answer.read().decode())
            return ""

        wait_until(lambda: said() == wanted, f"{self.asked} to say {wanted}")

    def stop(self, start: str) -> None:
        """End what was started with a command that begins so."""
        for each in [each for each in self.running if each[0].startswith(start)]:
            each[1].terminate()
            each[1].wait()
            self.running.remove(each)

    def _start(self, command: str) -> None:
        words = shlex.split(command)
        words[0] = str(ENVOY_1_40 if words[0] == "envoy" else BIN / words[0])
        extra = ["--concurrency", "1", "-l", "warning"] if command.startswith("envoy") else []
        name = f"child-{len(list(self.directory.glob('*.out')))}"
        child = Child(name, [*words, *extra], self.directory, working_directory=self.directory)
        self.held.enter_context(child)
        self.running.append((command, child))
        if command.startswith("envoy"):
            found = re.search(
                r"admin\W.*?address\W+([\d.]+)\W+port_value\W+(\d+)", _config(self.directory, words), re.DOTALL
            )
            assert found is not None
            url = f"http://{found[1]}:{found[2]}/ready"
            wait_until(lambda: _is_ready(url), f"{command} to be ready", children=[child])
        else:
            wait_until(lambda: b'"ready"' in child.out.read_bytes(), f"{command} to be ready", children=[child])


def _config(directory: Path, words: list[str]) -> str:
    return (directory / words[words.index("-c") + 1]).read_text()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _environment() -> dict[str, str]:
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}


@contextlib.contextmanager
def stock(ip: str, port: int, says: str) -> Iterator[None]:
    """An instance of stock, until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(says)))
            self.end_headers()
            self.wfile.write(says.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((ip, port), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_commands_of_the_page_lead_to_a_failover_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = CertificateAuthority(tmp_path / "ca", "mesh.example")
    (tmp_path / "certs").mkdir()
    for name, service, dc in (("web", "web", "dc1"), ("stock-dc1", "stock", "dc1"), ("stock-dc2", "stock", "dc2")):
        identity = authority.issue(service, dc)
        for ending, file in (("pem", identity.certificate), ("key", identity.private_key)):
            (tmp_path / "certs" / f"{name}.{ending}").write_bytes(file.read_bytes())
        (tmp_path / "certs" / "ca.pem").write_bytes(identity.ca.read_bytes())
    said = []
    with contextlib.ExitStack() as held, Ports() as ports:
        named = ("19000", "19001", "5000", "9090", "21000", "21001", "8420", "8421", "8080")
        first = ports.take_row(["127.0.0.1", "127.0.0.2"], len(named))
        walk = Walk(tmp_path, {name: str(first + i) for i, name in enumerate(named)}, held)
        port = int(walk.ports["9090"])
        here = held.enter_context(contextlib.ExitStack())
        here.enter_context(stock("127.0.0.1", port, "stock in dc1"))
        held.enter_context(stock("127.0.0.2", port, "stock in dc2"))
        for where, text in steps():
            if where == "$" and text == "# now stop the old Envoy":
                walk.stop("envoy -c old/")
            elif where == "$" and text == "# now stop the new Envoy":
                walk.stop("envoy -c web.json")
            elif where == "$" and text == "# now stock dies in dc1":
                here.close()
                said.append("died")
            elif where == "$":
                walk.types(text)
            elif where == ">":
                assert {*walk.moved(text).splitlines()} <= {*walk.said.splitlines()}
            elif not where:
                walk.answers(text.strip())
                said.append(text.strip())
            else:
                (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / where).write_text(walk.moved(text))
        held.enter_context(stock("127.0.0.1", port, "stock in dc1 again"))
        walk.answers("stock in dc1 again")
    assert said == ["stock in dc1", "stock in dc1", "died", "stock in dc2"]
