"""The door of `up` for other machines: TLS, and a token that is for what is asked."""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.serve.ask import NoAnswer, ask

from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.process import Child, wait_until
from tests.pipeline.meshes import instance, resolver, sidecar


@dataclass
class Remote:
    """A running `up`, its door for other machines, and the CA of that."""

    pointsman: Pointsman
    place: tuple[str, int]
    ca: Path
    directory: Path
    authority: CertificateAuthority

    def ask(self, method: str, path: str, token: str = "", body: Any = None, tls: bool = True) -> tuple[int, Any]:
        """Status and answer."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        sent = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=self.ca) if tls else None
        status, found = ask(self.place, method, path, sent, timeout=60, headers=headers, tls=context)
        return status, json.loads(found)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    directory = tmp_path_factory.mktemp("remote")
    authority = CertificateAuthority(directory / "ca", "td")
    identity = authority.issue_as("door", [(7, bytes([127, 0, 0, 1]))])
    door = ["--remote", "127.0.0.1:0", "--tls-cert", identity.certificate, "--tls-key", identity.private_key]
    door += ["--client-ca", authority.file]
    with Pointsman(directory, "td", more=door) as pointsman:
        config = directory / "config.json"
        config.write_text(json.dumps([resolver("web"), sidecar("client", "web")]))
        assert run(["apply", "--url", pointsman.url, str(config)]) == 0
        host, _, port = pointsman.said["remote"].removeprefix("https://").rpartition(":")
        yield Remote(pointsman, (host, int(port)), identity.ca, directory, authority)


def event(source: str = "agent/host-7", dc: str = "dc1", index: int = 1, service: str = "web") -> dict[str, Any]:
    told = {"Source": source, "Index": index, "Datacenter": dc, "Service": service}
    detail = told | {"Instances": [instance(service)]}
    return {"detail-type": "Service Health Changed", "detail": detail}


def make(remote: Remote, capsys: pytest.CaptureFixture[str], name: str, *options: str) -> str:
    """A new token."""
    capsys.readouterr()
    assert run(["token", "make", name, *options, "--store", str(remote.pointsman.store)]) == 0
    return capsys.readouterr().out.strip()


def test_other_machines_need_a_token_that_is_for_what_they_ask(
    remote: Remote, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = make(remote, capsys, "host-7", "--role", "report", "--dc", "dc1", "--source", "agent/*")
    dashboard = make(remote, capsys, "dashboard", "--role", "read")
    # What was read of the tokens before may be used for two seconds.
    wait_until(lambda: remote.ask("GET", "/v1/status", dashboard)[0] == 200, "the tokens to be known")
    answers = {
        "no token": remote.ask("POST", "/v1/events", "", event()),
        "none of ours": remote.ask("POST", "/v1/events", "pm-" + "0" * 64, event()),
        "another role": remote.ask("POST", "/v1/events", dashboard, event()),
        "another role's page": remote.ask("GET", "/v1/status", agent),
        "another datacenter": remote.ask("POST", "/v1/events", agent, event(dc="dc2")),
        "another source": remote.ask("POST", "/v1/events", agent, event("consul-dc1")),
        "another page": remote.ask("GET", "/config_dump", agent),
    }
    assert {what: status for what, (status, _) in answers.items()} == {
        "no token": 401,
        "none of ours": 401,
        "another role": 403,
        "another role's page": 403,
        "another datacenter": 403,
        "another source": 403,
        "another page": 404,
    }
    page = {"origin": "https://evil.example", "authorization": f"Bearer {dashboard}"}
    context = ssl.create_default_context(cafile=remote.ca)
    status, told = ask(remote.place, "GET", "/v1/status", timeout=60, headers=page, tls=context)
    assert (status, b"another server's page" in told) == (403, True)
    assert answers["another datacenter"][1] == {"error": 'the token "host-7" may not tell of dc2, only of dc1'}
    assert json.loads(remote.pointsman.page("/v1/status"))["resolvers"][0]["targets"][0]["total"] == 0
    status, told = remote.ask("POST", "/v1/events", agent, event())
    assert (status, told["changed"]) == (200, True)
    assert remote.ask("GET", "/v1/status", dashboard)[1]["resolvers"][0]["targets"][0]["total"] == 1
    with pytest.raises(NoAnswer):
        remote.ask("GET", "/v1/status", dashboard, tls=False)

    assert run(["token", "list", "--store", str(remote.pointsman.store)]) == 0
    listed = capsys.readouterr().out
    assert "host-7: report of dc1 as agent/*; made by " in listed
    assert agent not in listed
    assert run(["token", "revoke", "host-7", "--store", str(remote.pointsman.store)]) == 0
    wait_until(lambda: remote.ask("POST", "/v1/events", agent, event())[0] == 401, "the token to be revoked")
    assert remote.pointsman.send(event(index=2)), "on loopback nothing has changed"


def test_emit_and_agents_bring_their_token_or_certificate(remote: Remote, capsys: pytest.CaptureFixture[str]) -> None:
    token = remote.directory / "token"
    token.write_text(make(remote, capsys, "host-8", "--role", "report") + "\n")
    url, store = f"https://127.0.0.1:{remote.place[1]}", str(remote.pointsman.store)
    sent = remote.directory / "event.json"
    sent.write_text(json.dumps(event("agent/host-8", service="shop")))
    access = ["--token-file", str(token), "--ca", str(remote.ca)]
    emit = ["emit", "--url", url, str(sent)]
    wait_until(lambda: run([*emit, *access]) == 0, "the token to be known")
    for wrong, reason in (
        (["--ca", str(remote.ca)], "a token is required"),
        (["--token-file", str(token)], "its certificate is not vouched for"),
        (["--token-file", str(sent), "--ca", str(remote.ca)], "holds no token"),
    ):
        capsys.readouterr()
        assert run([*emit, *wrong]) == 1
        assert reason in capsys.readouterr().err
    assert run(["emit", "--url", url.replace("https", "http"), str(sent), *access]) == 1
    assert "a token is sent over https alone" in capsys.readouterr().err

    services = remote.directory / "services.json"
    beside = {"sidecar_service": {"port": 20000, "check": {"id": "true", "args": ["true"], "interval": "1s"}}}
    services.write_text(json.dumps({"service": {"name": "shop", "connect": beside}}))
    make(remote, capsys, "h1", "--role", "report", "--certificate", "spiffe://td/agent/h1")
    own = remote.authority.issue_as("h1", [(6, b"spiffe://td/agent/h1")])
    shown = ["--cert", own.certificate, "--key", own.private_key, "--ca", remote.ca]
    who = ["--dc", "dc1", "--node", "h1", "--address", "127.0.0.1", "--to", url, *shown]
    agent = Child("agent", [POINTSMAN, "agent", *who, str(services)], remote.directory)
    with agent:

        def told() -> bool:
            assert run(["source", "list", "--store", store]) == 0
            return "agent/h1  1 instance" in capsys.readouterr().out

        wait_until(told, "the agent to be heard", children=[agent])


def test_a_door_without_certificates_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up = ["up", "--store", str(tmp_path / "store.db"), "--remote", "127.0.0.1:0"]
    assert run(up) == 2
    assert "give --remote, --tls-cert and --tls-key together" in capsys.readouterr().err
    assert run([*up, "--tls-cert", "none.pem", "--tls-key", "none.pem", "--listen", "127.0.0.1:0"]) == 1
    assert "none.pem" in capsys.readouterr().err


def test_a_client_certificate_stands_for_the_token_that_has_its_name(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority, store = remote.authority, ["--store", str(remote.pointsman.store)]
    uri, dns = b"spiffe://td/agent/c1", b"c2.example"
    clients = {
        "its URI": authority.issue_as("c1", [(2, b"another.example"), (6, uri)]),
        "its DNS name": authority.issue_as("c2", [(2, dns)]),
        "its common name": authority.issue_as("c3", [(1, b"c3@td")]),
        "a common name beside a DNS name": authority.issue_as("c4", [(2, b"nobody.example")]),
        "a DNS name beside a URI": authority.issue_as("c6", [(2, dns), (6, b"spiffe://td/nobody")]),
        "no name that is one": authority.issue_as("c5", [(6, uri + b"\x00"), (2, dns)]),
    }
    for name, certificate in (("c1", uri.decode()), ("c2", dns.decode()), ("c3", "c3"), ("c4", "c4")):
        role = ["--role", "read"] if name == "c2" else ["--role", "report", "--source", f"agent/{name}"]
        assert run(["token", "make", name, *role, "--certificate", certificate, *store]) == 0
        assert f"with the certificate of {certificate}; made by" in capsys.readouterr().out
    assert run(["token", "make", "c9", *role, "--certificate", "c3", *store]) == 1
    assert 'the token "c3" has that certificate already' in capsys.readouterr().err
    token = tmp_path / "token"
    assert run(["token", "make", "beside", "--role", "report", *store]) == 0
    token.write_text(capsys.readouterr().out)

    def emit(identity: Identity | None, source: str, *more: str) -> str:
        """What a sender with that certificate hears."""
        sent = tmp_path / "event.json"
        sent.write_text(json.dumps(event(source, service="shop")))
        shown = ["--cert", str(identity.certificate), "--key", str(identity.private_key)] if identity else []
        capsys.readouterr()
        code = run(
            ["emit", "--url", f"https://127.0.0.1:{remote.place[1]}", "--ca", str(remote.ca), *shown, *more, str(sent)]
        )
        return "let in" if code == 0 else capsys.readouterr().err

    c1 = clients["its URI"]
    wait_until(lambda: emit(c1, "agent/c1") == "let in", "the tokens to be known")
    answers = {what: emit(each, f"agent/{each.certificate.stem}") for what, each in clients.items()}
    assert answers.pop("its URI") == answers.pop("its common name") == "let in"
    assert 'the token "c2" is not for report' in answers.pop("its DNS name")
    nameless = answers.pop("no name that is one")
    assert "a token is required" in nameless
    assert "give --token-file, or --cert and --key" in nameless
    assert {"has no token" in each for each in answers.values()} == {True}, answers
    assert 'may not speak as "agent/c2"' in emit(c1, "agent/c2"), "a certificate has the bounds of its token"
    assert emit(c1, "agent/c2", "--token-file", str(token)) == "let in", "who sends a token has that"
    assert emit(None, "agent/c2", "--token-file", str(token)) == "let in", "nobody needs a certificate"

    stranger = CertificateAuthority(tmp_path / "another", "td").issue_as("c1", [(6, uri)])
    assert "accept the certificate of --cert?" in emit(stranger, "agent/c1")
    assert run(["token", "revoke", "c1", *store]) == 0
    wait_until(lambda: "has no token" in emit(c1, "agent/c1"), "the token to be revoked")


def test_each_role_writes_what_it_is_for_and_who_did_it_is_noted(
    remote: Remote, capsys: pytest.CaptureFixture[str]
) -> None:
    web = make(remote, capsys, "web-hosts", "--role", "register", "--service", "web*", "--dc", "dc1")
    ops = make(remote, capsys, "ops", "--role", "order", "--role", "read")
    ci = make(remote, capsys, "ci", "--role", "configure")
    wait_until(lambda: remote.ask("GET", "/v1/orders", ops)[0] == 200, "the tokens to be known")
    assert remote.ask("PUT", "/v1/config?owner=agent", web, [sidecar("web")])[1]["changed"]
    status, told = remote.ask("PUT", "/v1/config?owner=agent", web, [sidecar("db")])
    assert (status, told["error"]) == (403, 'the token "web-hosts" may not register "db", only web*')
    assert remote.ask("PUT", "/v1/config?owner=agent", web, [resolver("web", ConnectTimeout="9s")])[0] == 403
    assert remote.ask("PUT", "/v1/config", ops, [sidecar("web")])[0] == 403
    assert remote.ask("PUT", "/v1/config?message=slow", ci, [resolver("web", ConnectTimeout="9s"), sidecar("db")])[1][
        "changed"
    ]
    log = json.loads(remote.pointsman.page("/v1/generations"))["generations"]
    assert [(each["by"], each["message"]) for each in log[:2]] == [("ci", "slow"), ("web-hosts", "")]
    order = {"verb": "freeze", "for": "1h", "reason": "release"}
    assert remote.ask("POST", "/v1/orders", ci, order)[0] == 403
    status, told = remote.ask("POST", "/v1/orders?by=somebody", ops, order)
    assert (status, told["order"]["by"]) == (200, "ops")
    assert " by web-hosts\n" in remote.pointsman.tail()
