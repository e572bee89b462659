"""`pointsman up` on a bucket that is away: with --keep Envoys get what they had, without it one line says why not."""

import contextlib
import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pointsman.store.bucket_url import BucketUrl
from pointsman.store.probe import mark

from tests.adapter.link import Link
from tests.adapter.rest import Envoy
from tests.aws.http_ends import aws_over_http
from tests.cli.test_cli import RESOLVER, SIDECAR, event
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.process import Child, wait_until

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def test_up_serves_what_it_kept_and_goes_on_when_the_store_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    socket, kept = tmp_path / "xds.sock", tmp_path / "kept"
    options = ["--store", "s3://mesh", "--listen", "127.0.0.1:0", "--http", f"unix:{socket}"]
    (tmp_path / "mesh.hcl").write_text(RESOLVER)
    (tmp_path / "s1.json").write_text(json.dumps(SIDECAR))
    with mock_aws(), aws_over_http() as url, Link(url) as link, contextlib.ExitStack() as running:
        client, (key, data) = boto3.client("s3", region_name="us-east-1"), mark(BucketUrl("mesh", endpoint=link.url))
        client.create_bucket(Bucket="mesh")
        client.put_object(Bucket="mesh", Key=key, Body=data)  # the probe has tests of its own
        environment = {**AWS, "AWS_ENDPOINT_URL": link.url}

        def up(name: str, *more: str) -> Child:
            child = Child(name, [POINTSMAN, "up", *options, *more], tmp_path, environment)
            running.callback(child.stop)
            child.start()
            return child

        def started(child: Child) -> int:
            out = tmp_path / f"{child.name}.out"
            wait_until(lambda: out.exists() and b"\n" in out.read_bytes(), "up to be ready", children=[child])
            return int(json.loads(out.read_bytes())["url"].rpartition(":")[2])

        def post(port: int, body: dict[str, Any]) -> int:
            with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v1/events", json.dumps(body), headers)
                return connection.getresponse().status

        before = up("before", "--keep", str(kept))
        port = started(before)
        files = [tmp_path / "mesh.hcl", tmp_path / "s1.json"]
        applied = Child("apply", [POINTSMAN, "apply", "--store", "s3://mesh", *files], tmp_path, environment)
        running.callback(applied.stop)
        applied.start()
        wait_until(lambda: not applied.alive, "the config to be applied", children=[before])
        assert post(port, event("dc2", "passing", 1)) == 200
        envoy = Envoy(socket)
        wait_until(lambda: envoy.ask("listeners").status == 200, "the sidecar to be known", children=[before])
        listeners = envoy.ask("listeners").resources
        wait_until(lambda: len(list(kept.glob("*.kept"))) >= 2, "it to be kept", children=[before])
        before.stop()

        link.cut()
        alone = up("alone")
        wait_until(lambda: not alone.alive, "up without anything kept to end")
        said = (tmp_path / "alone.err").read_text()
        assert ("store" in said, "Traceback" in said) == (True, False)

        after = up("after", "--keep", str(kept))
        port = started(after)
        assert envoy.ask("listeners").resources == listeners
        assert "until the store is back" in (tmp_path / "after.err").read_text()
        assert post(port, event("dc2", "critical", 2)) == 503
        link.restore()
        wait_until(lambda: post(port, event("dc2", "critical", 3)) == 200, "the store to be back", children=[after])
