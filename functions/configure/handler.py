"""Configure: the config over HTTP, at the function's URL (IAM authentication).

    PUT or POST /v1/config             a document or a list of them, as one batch (`?dry_run=1` only validates)
    GET         /v1/config             all of it, as the batch that PUT takes back (`?kind=service-resolver`)
    GET, DELETE /v1/config/KIND/NAME   one entry (`?namespace=`)
    GET, DELETE /v1/config/registration/NAME, .../registration/gateway/ID    (`?dc=`, `?namespace=`)
    POST        /v1/rollback/GENERATION
    GET         /v1/status             where every resolver's traffic goes (`?dc=`)

Bodies are JSON, or application/yaml or application/hcl by their content type. 400: invalid input, with every problem;
nothing was changed. 404: not found. 503: send it again, which is safe.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_NOTICES, the topic to which moved heads are
published (none without); POINTSMAN_DATACENTERS, those to compute for (all without); POINTSMAN_TRUST_DOMAIN, fixed by
the first write.
"""

import gc

gc.disable()  # Off until all is imported: nothing is garbage yet, and collecting takes a tenth of a cold start.

from base64 import b64decode
from typing import Any

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pointsman.aws.answer import LARGEST_ANSWER_BYTES
from pointsman.aws.deployed import deployed
from pointsman.aws.signals import Signals
from pointsman.aws.snapstart import around_the_snapshot, import_config
from pointsman.aws.start import start
from pointsman.model import keys
from pointsman.model.canonical import canonical
from pointsman.model.complaints import brief
from pointsman.model.entries import KINDS, entry_json
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.loading import load_bytes
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import Registration
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.configure import Batch, Configured, configure, parse_documents, rollback
from pointsman.pipeline.status import status
from pointsman.store.protocol import StoreUnavailable

LONGEST_GENERATION = 18
"""Digits of a generation's number, far more than any store needs."""

_FORMATS = {"yaml": "the body.yaml", "hcl": "the body.hcl"}

signals = Signals("configure")
logger, metrics = signals.logger, signals.metrics
app = LambdaFunctionUrlResolver()

in_force = deployed()
started = start()
engine, trust_domain = started.engine, started.environment.trust_domain
around_the_snapshot(import_config)
gc.freeze()  # What a start made stays: no collection has to look at it again.
gc.enable()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: takes a request to its URL and returns the answer."""
    try:
        return app.resolve(event, context)
    finally:
        signals.flush()


@app.route("/v1/config", method=["PUT", "POST"])
def apply() -> Response[str]:
    """Write documents, all of them or none."""
    kind = str(app.current_event.headers.get("content-type", "")).partition(";")[0].rpartition("/")[2]
    documents = load_bytes(body(), _FORMATS.get(kind.removeprefix("x-"), "the body.json"))
    dry_run = app.current_event.get_query_string_value("dry_run", "") not in ("", "0", "false")
    return written(configure(engine, parse_documents(documents), trust_domain=trust_domain, dry_run=dry_run))


@app.get("/v1/config")
def show_all() -> Response[str]:
    """Show the whole config, or one kind of entries."""
    kind = app.current_event.get_query_string_value("kind", "")
    if kind not in ("", "registration", *KINDS):
        raise InvalidInput.single("kind", "", f'"{kind}" is none of {", ".join([*KINDS, "registration"])}')
    config = current()
    entries = [entry_json(entry) for entry in config.entries if kind in ("", entry.kind)]
    registrations = config.registrations.values() if kind in ("", "registration") else ()
    return answer(200, [*entries, *map(as_written, registrations)])


@app.get("/v1/config/registration/<name>")
def show_registration(name: str) -> Response[str]:
    """Show a sidecar's registration."""
    return shown(f"registration {name}", current().registrations.get(registration_named(name)))


@app.get("/v1/config/registration/gateway/<gateway>")
def show_gateway(gateway: str) -> Response[str]:
    """Show a mesh gateway's registration."""
    return shown(f"registration {gateway}", current().registrations.get(registration_named(f"gateway/{gateway}")))


@app.get("/v1/config/<kind>/<name>")
def show(kind: str, name: str) -> Response[str]:
    """Show a config entry."""
    entry = current().entries.get((kind, namespace(), name))
    return answer(200, entry_json(entry)) if entry is not None else missing(f'{kind} "{name}"')


@app.delete("/v1/config/registration/<name>")
def delete_registration(name: str) -> Response[str]:
    """Delete a sidecar's registration."""
    return written(configure(engine, Batch(delete_registrations=[registration_named(name)])))


@app.delete("/v1/config/registration/gateway/<gateway>")
def delete_gateway(gateway: str) -> Response[str]:
    """Delete a mesh gateway's registration."""
    return written(configure(engine, Batch(delete_registrations=[registration_named(f"gateway/{gateway}")])))


@app.delete("/v1/config/<kind>/<name>")
def delete(kind: str, name: str) -> Response[str]:
    """Delete a config entry, unless the rest of the config needs it."""
    return written(configure(engine, Batch(delete_entries=[(kind, namespace(), name)])))


@app.post("/v1/rollback/<generation>")
def roll_back(generation: str) -> Response[str]:
    """Make an earlier generation the config again, as a new one."""
    if not generation.isdecimal() or len(generation) > LONGEST_GENERATION:
        raise InvalidInput.single(f"generation {brief(generation)}", "", "is not the number of a generation")
    return written(rollback(engine, int(generation)))


@app.get("/v1/status")
def show_status() -> Response[str]:
    """Show which target of every resolver serves now, and why, and which build and parameters are in force here."""
    datacenter = app.current_event.get_query_string_value("dc", "")
    found = status(engine)
    resolvers = [each.json() for each in found.resolvers if datacenter in ("", each.datacenter)]
    return answer(200, found.json() | {"resolvers": resolvers, "deployed": in_force})


@app.exception_handler(InvalidInput)  # type: ignore[untyped-decorator]
def refused(error: InvalidInput) -> Response[str]:
    """Answer 400: sending the same again cannot help."""
    logger.info("refused", problems=[str(problem) for problem in error.problems])
    signals.count("ConfigRefused")
    return answer(400, {"error": str(error), "problems": [str(problem) for problem in error.problems]})


@app.exception_handler(PointsmanError)  # type: ignore[untyped-decorator]
def failed(error: PointsmanError) -> Response[str]:
    """Answer 503: the store is unavailable or damaged."""
    logger.warning("failed", reason=str(error))
    signals.count("ConfigFailed")
    return answer(503 if isinstance(error, StoreUnavailable) else 500, {"error": str(error)})


def written(done: Configured) -> Response[str]:
    """The answer to a write, which is also logged and counted."""
    moved = [f"{head.plan_key} v{head.version}" for head in done.settled.moved]
    if done.changed:
        caller = app.current_event.request_context.authorizer
        who = caller.iam.user_arn if caller and caller.iam else None
        logger.info("configured", generation=done.generation, by=who, published=len(moved))
        signals.count("ConfigChanged")
        signals.count("SnapshotsPublished", len(moved))
    body: dict[str, Any] = {"generation": done.generation, "changed": done.changed, "published": moved}
    signals.went_back(done.settled.warnings)
    if done.settled.warnings:
        body["warnings"] = done.settled.warnings
    if failed := done.settled.failures():
        logger.error("cannot be computed", reasons=failed)
        signals.count("HeadsFailed", len(failed))
        body["failed"] = failed
    return answer(200, body)


def body() -> bytes:
    """The request's body as bytes, of any content type."""
    event = app.current_event
    text = event.body or ""
    try:
        return b64decode(text) if event.is_base64_encoded else text.encode(errors="replace")
    except ValueError as error:
        raise InvalidInput.single("the body", "", f"is not base64: {error}") from None


def current() -> Config:
    """The current config."""
    return engine.config(load_root(engine.objects, engine.refresh().root))


def namespace() -> str:
    """The namespace in the request."""
    return app.current_event.get_query_string_value("namespace", "") or DEFAULT_NAMESPACE


def registration_named(name: str) -> str:
    """The key of a registration in the config."""
    datacenter = app.current_event.get_query_string_value("dc", "")
    if not datacenter:
        raise InvalidInput.single(f"registration {name}", "dc", "is missing: name the datacenter, as ?dc=dc1")
    return keys.registration_key(datacenter, namespace(), name)


def as_written(registration: Registration) -> dict[str, Any]:
    """A registration in the form that PUT accepts."""
    return registration.model_dump(by_alias=True, exclude_defaults=True)


def shown(thing: str, registration: Registration | None) -> Response[str]:
    """Answer with a registration, or 404 if it is None."""
    return answer(200, as_written(registration)) if registration is not None else missing(thing)


def missing(thing: str) -> Response[str]:
    """Answer 404."""
    return answer(404, {"error": f"{thing}: does not exist; GET /v1/config shows what does"})


def answer(code: int, body: Any) -> Response[str]:
    """Answer in JSON."""
    data = canonical(body)
    if len(data) > LARGEST_ANSWER_BYTES:
        code, data = 413, canonical({"error": f"{len(data)} bytes are too many for one answer; ask for one kind or dc"})
    return json_answer(code, data)


def json_answer(code: int, body: bytes) -> Response[str]:
    """An answer with this status and a JSON `body`."""
    return Response(status_code=code, content_type=content_types.APPLICATION_JSON, body=body.decode())


handler = signals.traced(handler)
