"""Config over the API, as each server that has it answers."""

import json
from typing import Any

import pytest
from pointsman.api.config import LONGEST_GENERATION
from pointsman.api.request import Answer, Api, Request
from pointsman.api.routes import answer
from pointsman.model.grants import EVERYTHING, Grant, Role

from tests.pipeline.meshes import gateway, resolver, sidecar
from tests.pipeline.place import Place

JSON = "application/json"


def ask(
    api: Api, method: str, url: str, body: Any = None, grant: Grant = EVERYTHING, content_type: str = JSON
) -> Answer:
    """The answer to a request."""
    path, _, query = url.partition("?")
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return answer(api, Request(method, path, query, {"content-type": content_type}, sent, grant))


@pytest.fixture
def api() -> Api:
    """An empty store's."""
    return Api(Place().engine)


def test_what_is_no_generation_is_refused(api: Api) -> None:
    ask(api, "PUT", "/v1/config", [resolver("web")])
    for wrong in ("none", "-1", "1.5", "9" * (LONGEST_GENERATION + 1), "٣"):
        refused = ask(api, "POST", f"/v1/rollback/{wrong}")
        assert (refused.status, "is not the number of a generation" in refused.body["error"]) == (400, True), wrong
    assert ask(api, "POST", "/v1/rollback/1").status == 200


def test_formats_are_named_by_the_content_type(api: Api) -> None:
    hcl = b'Kind = "service-resolver"\nName = "web"\n'
    for body, kind, status in (
        (hcl, "application/hcl", 200),
        (hcl, "text/x-hcl; charset=utf-8", 200),
        (b"Kind: service-resolver\nName: api\n", "application/yaml", 200),
        (hcl, "application/json", 400),
        (hcl, "text/plain", 415),
        (hcl, "", 415),
    ):
        assert ask(api, "PUT", "/v1/config", body, content_type=kind).status == status, kind
    assert [each["Name"] for each in ask(api, "GET", "/v1/config").body] == ["api", "web"]


def test_documents_come_as_consul_has_them_and_what_is_not_for_pointsman_is_told(api: Api) -> None:
    settings = {
        "data_dir": "data",
        "config_entries": {"bootstrap": [resolver("web")]},
        "service": {"name": "web", "connect": {"sidecar_service": {"port": 20000}}},
    }

    answer = ask(api, "PUT", "/v1/config?dc=dc1", [settings])
    refused = ask(api, "PUT", "/v1/config", [settings])

    assert (answer.status, answer.body["passed_over"]) == (200, ["settings of Consul's agent: data_dir"])
    assert ask(api, "GET", "/v1/config/registration/web?dc=dc1").status == 200
    assert (refused.status, "Datacenter: is required" in refused.body["error"]) == (400, True)


def test_nothing_in_a_url_is_passed_over(api: Api) -> None:
    for url, said in (
        ("/v1/config?dryrun=1", '"dryrun": is no parameter; there are dry_run, dc, owner, prune, generation'),
        ("/v1/config?dry_run=yes", '"yes" is neither 1 nor 0'),
        ("/v1/config?dry_run=1&dry_run=0", "is given twice"),
    ):
        refused = ask(api, "PUT", url, [resolver("web")])
        assert refused.status == 400
        assert said in refused.body["error"]
    assert ask(api, "PUT", "/v1/config?dry_run=true", [resolver("web")]).body == {
        "generation": 0,
        "changed": True,
        "published": [],
        "manifests": [],
        "dry_run": True,
    }
    assert ask(api, "GET", "/v1/config").body == []
    assert ask(api, "GET", "/v1/nothing").status == 404
    refused = ask(api, "PATCH", "/v1/config")
    assert (refused.status, refused.headers) == (405, {"allow": "PUT, POST, GET"})


def test_who_registers_writes_registrations_of_their_services_and_datacenters_alone(api: Api) -> None:
    web = Grant(frozenset({Role.REGISTER}), 'the token "t"', "t", ("dc1",), (), ("web*", "gateway/gw-1"))
    anywhere = Grant(frozenset({Role.REGISTER}), 'the token "t"', "t")
    namespace = {"Kind": "namespace", "Name": "gateway"}
    assert ask(api, "PUT", "/v1/config", [namespace, resolver("web")]).status == 200
    odd = sidecar("gw-1", namespace="gateway")
    for grant, documents, said in (
        (web, [sidecar("web-1"), gateway("dc1", "gw-1")], ""),
        (web, [sidecar("web-1"), sidecar("db")], 'may not register "db", only web*, gateway/gw-1'),
        (web, [sidecar("web-1", dc="dc2")], "may not register in dc2, only in dc1"),
        (web, [gateway("dc1", "gw-2")], 'may not register "gateway/gw-2"'),
        (web, [odd], 'may not register "gateway/gw-1"'),
        (anywhere, [odd], ""),
        (anywhere, [sidecar("db"), resolver("db")], "for config entries it needs the role configure"),
    ):
        done = ask(api, "PUT", "/v1/config?dry_run=1&owner=agent", documents, grant)
        assert (done.status, said in str(done.body)) == (403 if said else 200, True), documents
    unnamed = ask(api, "PUT", "/v1/config", [sidecar("web-1")], web)
    assert (unnamed.status, "say as which, with ?owner=agent" in unnamed.body["error"]) == (403, True)
    assert ask(api, "PUT", "/v1/config?owner=agent", [sidecar("web"), sidecar("db")]).status == 200
    assert ask(api, "GET", "/v1/config", None, web).status == 403
    assert ask(api, "DELETE", "/v1/config/service-resolver/web", None, anywhere).status == 403
    assert ask(api, "DELETE", "/v1/config/registration/db?dc=dc1", None, web).status == 403
    assert ask(api, "DELETE", "/v1/config/registration/web?dc=dc1", None, web).status == 403
    assert ask(api, "DELETE", "/v1/config/registration/web?dc=dc1&owner=agent", None, web).body["changed"]
    assert ask(api, "DELETE", "/v1/config/registration/web?dc=dc1&owner=agent", None, web).status == 404


def test_whose_a_document_is_goes_with_what_is_written_and_deleted(api: Api) -> None:
    assert ask(api, "PUT", "/v1/config?owner=team-a", [sidecar("web")]).body["changed"]
    assert ask(api, "GET", "/v1/config/registration/web?dc=dc1").body["Owner"] == "team-a"
    refused = ask(api, "DELETE", "/v1/config/registration/web?dc=dc1&owner=team-b")
    assert (refused.status, 'belongs to "team-a"' in refused.body["error"]) == (400, True)
    assert ask(api, "DELETE", "/v1/config/registration/web?dc=dc1&owner=team-a").body["changed"]
