"""The command line at the URL of the function `configure`: every request is signed as IAM wants it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run

from tests.aws.function_url import CREDENTIALS, HOST, function_url
from tests.aws.harness import Aws
from tests.aws.mesh import s2
from tests.pipeline.meshes import resolver


def test_commands_go_to_the_url_of_a_function_signed_by_whoever_has_credentials(
    mesh: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key),
        ("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key),
        ("AWS_SESSION_TOKEN", CREDENTIALS.token),
    ):
        monkeypatch.setenv(name, str(value))
    lookup = socket.getaddrinfo
    with function_url(mesh.handler("Configure"), tmp_path) as url:
        # As a resolver of names would have it: the function's host is here.
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, port, *others, **more: (
                lookup("127.0.0.1", url.port, *others, **more) if host == HOST else lookup(host, port, *others, **more)
            ),
        )

        def said(*words: str, given: Any = None) -> tuple[int, str, str]:
            (tmp_path / "given.json").write_text(json.dumps(given))
            last = [] if given is None else [str(tmp_path / "given.json")]
            ca = str(tmp_path / "public-ca.pem")
            capsys.readouterr()
            code = run([*words, "--url", f"https://{HOST}", "--ca", ca, *last])
            found = capsys.readouterr()
            # The function, which runs in this process, prints its log and its metrics.
            return code, "".join(line for line in found.out.splitlines(True) if not line.startswith('{"')), found.err

        applied = said("apply", "--message", "it takes long", given=[resolver("s2", ConnectTimeout="9s")])
        assert applied == (0, "generation 2: 1 document, 1 snapshot and 0 manifests published\n", "")
        (line,) = (vars(each) for each in caplog.records if each.message == "changed")
        assert (line["generation"], line["note"]) == (2, "it takes long")
        assert line["by"].endswith(":user/deployer")
        assert json.loads(said("get", "service-resolver", "s2")[1])["ConnectTimeout"] == 9_000_000_000
        # Names with a slash, and parameters, are signed as they are sent.
        assert said("emit", given={"source": "mesh.health", "id": "1", **s2("passing")})[0] == 0
        assert said("source", "forget", "agent/nobody")[2].startswith(
            'pointsman: source "agent/nobody": tells of nothing'
        )
        code, out, err = said("drain", "dc1", "--for", "1h", "--reason", "works & more", "--force")
        assert (code, "works & more" in out) == (0, True), err
        assert "1 order in force" in said("status", "--dc", "dc1")[1]
        assert url.wrong == []

        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert said("list") == (1, "", f"pointsman: https://{HOST} answered 403: Forbidden\n")
        (tmp_path / "token").write_text("pm-1")
        assert "AWS credentials let in there" in said("list", "--token-file", str(tmp_path / "token"))[2]
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        assert "needs AWS credentials, and there are none" in said("list")[2]
