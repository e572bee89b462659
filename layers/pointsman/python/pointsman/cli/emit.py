"""`pointsman emit`: a health event, by hand or from a script."""

from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click
import orjson

from pointsman.cli.options import engine_on, read_text
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.events import parse_event
from pointsman.pipeline.ingest import ingest


@click.command()
@click.option("--url", envvar="POINTSMAN_URL", default="", metavar="URL", help="A running `pointsman up` to send to.")
@click.option("--store", envvar="POINTSMAN_STORE", default="", metavar="FILE|s3://BUCKET", help="Or a store to write.")
@click.argument("file", metavar="FILE|-")
def emit(url: str, store: str, file: str) -> None:
    """Send health events; ends when each is durable and what follows from it is published.

    FILE holds one event or a list of them as JSON; "-" is standard input. With --url they go to a running `pointsman
    up`, else they are taken in right here, into the --store.

    \b
      pointsman emit --url http://127.0.0.1:8420 events/service-critical.json
      producer | pointsman emit --store pointsman.db -
    """
    if not (url or store):
        raise click.UsageError("give --url or --store")
    try:
        loaded = orjson.loads(read_text(file))
    except orjson.JSONDecodeError as error:
        raise InvalidInput.single("standard input" if file == "-" else file, "", f"is not JSON: {error}") from None
    events = loaded if isinstance(loaded, list) else [loaded]
    parsed = [parse_event(event) for event in events]
    if url:
        for event in events:
            answer = _post(url, event)
            click.echo(_line(answer["revision"], answer["changed"], answer["moved"]))
        return
    with engine_on(store) as engine:
        for each in parsed:
            done = ingest(engine, each)
            moved = [f"{head.plan_key} v{head.version}" for head in done.moved]
            click.echo(_line(done.revision, done.changed, moved))


def _line(revision: int, changed: bool, moved: list[str]) -> str:
    what = "took effect" if changed else "said nothing new"
    return f"revision {revision}: {what}; {len(moved)} snapshots moved" + "".join(f"\n  {each}" for each in moved)


def _post(url: str, event: Any) -> Any:
    request = Request(
        url.rstrip("/") + "/v1/events", orjson.dumps(event), {"content-type": "application/json"}, method="POST"
    )
    if request.type not in ("http", "https"):
        raise PointsmanError(f"{url} is not an http or https URL")
    try:
        with urlopen(request, timeout=30) as response:
            return orjson.loads(response.read())
    except HTTPError as error:
        body = error.read()
        try:
            reason = orjson.loads(body)["error"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            reason = body.decode(errors="replace")[:200]
        raise PointsmanError(f"{url} answered {error.code}: {reason}") from None
    except (URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise PointsmanError(f"{url} cannot be reached: {reason}; is `pointsman up` running there?") from None
