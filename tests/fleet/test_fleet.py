"""The harness itself: its Envoys, processes and ports do what the end-to-end tests rely on, and its judge judges."""

import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.bootstrap.document import (
    Address,
    FetchFiles,
    Host,
    IpPort,
    Node,
    SecretFiles,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.delivery.endpoint_source import EndpointFiles
from pointsman.delivery.secret_source import secrets_of
from pointsman.xds.inbound import Inbound
from pointsman.xds.public_listener import own_clusters, own_listeners

from tests.fleet.accesslog import Connection, connections
from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.client import Attempt, Client
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy, ready
from tests.fleet.handmade import assignment, cluster, gateway_listener, upstream_listener, write_response
from tests.fleet.judge import Mode, Point, Sni, Switch, wrong_names, wrong_steady, wrong_switching, wrong_way
from tests.fleet.process import REPOSITORY, Child, FleetError, Ports, wait_until

TRUST_DOMAIN = "mesh.example"
SNI = "s2.default.dc2.internal.mesh.example"


@pytest.mark.envoy
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_a_request_goes_through_sidecar_gateway_and_sidecar_and_both_logs_show_its_server_name(
    tmp_path: Path, binary: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    gateway_log, sidecar_log = tmp_path / "gateway.log", tmp_path / "s2.log"
    with Ports() as ports:
        upstream, app, s2, gateway = (ports.take(ip) for ip in ("127.0.0.1", *["127.0.0.2"] * 3))

        directory = tmp_path / "xds" / "s1"
        to_gateway = cluster(
            SNI, directory / "eds.pb", sni=SNI, spiffe_id="spiffe://mesh.example/ns/default/dc/dc2/svc/s2"
        )
        write_response(directory / "eds.pb", [assignment(SNI, [("127.0.0.2", gateway)])])
        write_response(directory / "cds.pb", [to_gateway])
        write_response(directory / "lds.pb", [upstream_listener("s2", "127.0.0.1", upstream, SNI)])
        directory = tmp_path / "xds" / "gateway"
        write_response(directory / "eds.pb", [assignment(SNI, [("127.0.0.2", s2)])])
        write_response(directory / "cds.pb", [cluster(SNI, directory / "eds.pb")])
        write_response(directory / "lds.pb", [gateway_listener("127.0.0.2", gateway, gateway_log)])
        directory = tmp_path / "xds" / "s2"
        at, inbound = Host(IpPort("127.0.0.2", s2), IpPort("127.0.0.2", app), str(sidecar_log)), Inbound(TRUST_DOMAIN)
        write_response(directory / "cds.pb", own_clusters(inbound, at))
        write_response(directory / "lds.pb", [*own_listeners(inbound, at, secrets_of(EndpointFiles(str(directory))))])

        def sidecar(service: str, datacenter: str, ip: str, public: int, app: int, log: Path) -> Envoy:
            identity = authority.issue(service, datacenter)
            bootstrap = sidecar_bootstrap(
                Node(f"{service}-{datacenter}", service, datacenter),
                Address(ip, ports.take(ip)),
                FetchFiles(str(tmp_path / "xds" / service)),
                secrets=SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
                host=Host(IpPort(ip, public), IpPort(ip, app), str(log)),
            )
            return Envoy(service, bootstrap, tmp_path, binary)

        unused = ports.take("127.0.0.1")
        fetch = FetchFiles(str(tmp_path / "xds" / "gateway"))
        admin = Address("127.0.0.2", ports.take("127.0.0.2"))
        bootstrap = gateway_bootstrap(Node("gateway-dc2", "mesh-gateway", "dc2"), admin, fetch)
        command = [sys.executable, "-m", "tests.fleet.app", "--name", "dc2", "--address", "127.0.0.2"]
        with (
            Child("app", [*command, "--port", str(app)], tmp_path) as service,
            Envoy("gateway", bootstrap, tmp_path, binary) as through,
            sidecar("s2", "dc2", "127.0.0.2", s2, app, sidecar_log) as server,
            sidecar("s1", "dc1", "127.0.0.1", unused, unused, tmp_path / "s1.log") as caller,
        ):
            ready([through, server, caller])
            with Client("127.0.0.1", upstream) as client:
                first = client.wait_for_answer("dc2", after=0.0)

                service.kill()
                died = time.perf_counter()
                server.kill()
                wait_until(lambda: any(attempt.failure for attempt in client.attempts(died)), "a request to fail")
                service.start()
                server.start()
                server.wait_ready()
                back = client.wait_for_answer("dc2", after=time.perf_counter())

            seen = wait_until(lambda: connections(gateway_log), "the gateway's access log", children=[through])
            assert {connection.sni for connection in seen} == {SNI}
            assert f"127.0.0.2:{s2}" in {connection.upstream_host for connection in seen}
            seen = wait_until(lambda: connections(sidecar_log), "the sidecar's access log", children=[server])
            assert {connection.sni for connection in seen} == {SNI}
            assert caller.stats([f"cluster.{SNI}.ssl.handshake"])[f"cluster.{SNI}.ssl.handshake"] > 0
            assert {host["address"]["socket_address"]["port_value"] for host in caller.clusters()[SNI]} == {gateway}

            # Only a certificate of the mesh gets to the service: not none, not one of another trust domain.
            address = ("127.0.0.2", s2)
            stranger = CertificateAuthority(tmp_path / "ca2", "elsewhere.example").issue("s1", "dc1")
            assert answer(address, tls(authority.file, authority.issue("s1", "dc1"))).endswith(b"dc2")
            assert answer(address, tls(authority.file, authority.issue("s1", "dc1", trust_domain="a.example"))) == b""
            assert answer(address, tls(authority.file, stranger)) == b""
            assert answer(address, tls(authority.file, None)) == b""
            assert answer(address, None) == b""
    assert first.done < died < back.done


def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.fleet.process import Child\n"
        "child = Child('sleeper', ['sleep', '600'], Path(sys.argv[1])); child.start()\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert running(child)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not running(child), "the child to be gone")


def test_stopping_a_child_leaves_none_of_its_own_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $!; wait; wait"
    with Child("stubborn", ["sh", "-c", script], tmp_path) as child:
        wait_until(lambda: child.out.read_text().endswith("\n"), "the grandchild's id")
        grandchild = int(child.out.read_text())
        assert running(grandchild)
        child.stop(patience=0.1)
    assert not child.alive
    wait_until(lambda: not running(grandchild), "the grandchild to be gone")


def test_waiting_for_a_child_that_ended_tells_what_it_wrote_last(tmp_path: Path) -> None:
    with (
        Child("broken", ["sh", "-c", "echo cannot open the pod bay doors >&2; exit 1"], tmp_path) as child,
        pytest.raises(FleetError, match=r"(?s)waiting for the doors: broken ended.*cannot open the pod bay doors"),
    ):
        wait_until(lambda: False, "the doors", children=[child])


def test_a_port_that_was_taken_stays_ours_and_refuses_connections() -> None:
    with Ports() as ports:
        port = ports.take("127.0.0.2")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.2", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))
        with socket.create_server(("127.0.0.2", port)), socket.create_connection(("127.0.0.2", port)):
            pass


SWITCH = Switch(old="dc1", new="dc2", died=10.0, reported=11.0, switched=12.0)


@pytest.mark.parametrize(
    ("attempt", "switch", "wrong"),
    [
        (Attempt(9.0, 9.1, "dc1", None), SWITCH, None),
        (Attempt(9.9, 10.1, None, "refused"), SWITCH, None),
        (Attempt(11.5, 11.6, None, "refused"), SWITCH, None),
        (Attempt(11.9, 12.0, "dc2", None), SWITCH, None),
        (Attempt(11.9, 12.1, "dc1", None), replace(SWITCH, died=None), None),
        (Attempt(9.0, 9.1, None, "refused"), SWITCH, "failed while dc1 was alive: refused"),
        (Attempt(11.5, 11.6, None, "refused"), replace(SWITCH, died=None), "failed while dc1 was alive: refused"),
        (Attempt(12.1, 12.2, None, "refused"), SWITCH, "failed after dc2 had taken over: refused"),
        (Attempt(12.1, 12.2, "dc1", None), SWITCH, "answered by dc1 after dc2 had taken over"),
        (Attempt(10.5, 10.6, "dc2", None), SWITCH, "answered by dc2 before anything was reported"),
        (Attempt(11.5, 11.6, "dc3", None), SWITCH, "answered by dc3, where only dc1 and dc2 may"),
    ],
)
def test_the_judge_of_answers(attempt: Attempt, switch: Switch, wrong: str | None) -> None:
    assert wrong_switching([attempt], switch) == ([] if wrong is None else [wrong])


def test_a_steady_time_allows_neither_another_answer_nor_a_failure() -> None:
    attempts = [Attempt(1, 2, "dc1", None), Attempt(1, 2, "dc2", None), Attempt(1, 2, None, "reset")]
    assert wrong_steady(attempts, "dc1") == ["answered by dc2, where only dc1 may", "reset"]


@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("local", {"sidecar dc2": "dc2", "gateway dc2": "dc2", "gateway dc1": "dc2"}),
        ("remote", {"sidecar dc2": "dc2", "gateway dc2": "dc2"}),
        ("none", {"sidecar dc2": "dc1"}),
    ],
)
def test_the_judge_of_server_names(mode: Mode, way: dict[str, str]) -> None:
    sni = Sni(mode, "dc1", ["dc1", "dc2", "dc3"], TRUST_DOMAIN)
    assert {str(point): name for point, name in sni.expected("dc2").items()} == {
        point: sni.of(datacenter) for point, datacenter in way.items()
    }
    right = {point: [seen(name)] for point, name in sni.expected("dc2").items()}
    assert wrong_names(right, sni) == wrong_way(right, sni, "dc2") == []
    assert wrong_way({}, sni, "dc2") == [f"the {point} saw nothing of {name}" for point, name in _expected(sni)]

    torn = {Point("sidecar", "dc2"): [seen(sni.of("dc3"))]}
    assert wrong_names(torn, sni) == ["the sidecar dc2 saw the server name s2.default.dc3.internal.mesh.example"]
    elsewhere = right | {Point("sidecar", "dc3"): [seen(name)] * 2 for _, name in _expected(sni)[:1]}
    assert wrong_way(elsewhere, sni, "dc2") == [
        f"the sidecar dc3 saw {_expected(sni)[0][1]}, where it should see nothing (2 times)"
    ]
    nameless = {Point("sidecar", "dc2"): [seen(None)]}
    assert wrong_names(nameless, sni) == ["the sidecar dc2 saw the server name None"]


def _expected(sni: Sni) -> list[tuple[Point, str]]:
    return list(sni.expected("dc2").items())


def seen(name: str | None) -> Connection:
    return Connection(0.0, name, None, None)


def tls(ca: Path, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.private_key)
    return context


def answer(address: tuple[str, int], context: ssl.SSLContext | None) -> bytes:
    """The answer to an HTTP request, over TLS with a `context`; empty if the other side closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError), socket.create_connection(address, timeout=5) as plain:
        connection = context.wrap_socket(plain) if context else plain
        connection.sendall(b"GET / HTTP/1.1\r\nhost: s2\r\nconnection: close\r\n\r\n")
        while part := connection.recv(4096):
            received += part
    return received


def running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
