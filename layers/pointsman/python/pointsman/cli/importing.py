"""`pointsman import`: makes config of what people have from elsewhere."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import orjson

from pointsman.cli.command import Group, command
from pointsman.cli.options import read_bytes
from pointsman.importers.app_mesh import Imported, import_app_mesh
from pointsman.importers.pieces import CONVERTED, NAMED, NOT_NEEDED
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import MOST_BYTES
from pointsman.model.words import counted

NOT_ALL: Final = 3
"""The exit code if something could not be converted."""


@click.group(cls=Group)
def import_() -> None:
    """Make config entries and registrations of what other systems have."""


@command("app-mesh")
@click.option("--out", required=True, metavar="DIR", help="Where the result goes: a new or empty directory.")
@click.option("--report", "report_file", metavar="FILE", help="Write what became of every field, as JSON.")
@click.option("--agent", metavar="DIR", help="Also write definitions with the health checks, for `pointsman agent`.")
@click.option("--dc", default="dc1", show_default=True, metavar="DC", help="The datacenter of the registrations.")
@click.option("--name", "names", multiple=True, metavar="OLD=NEW", help="Call what was called OLD the service NEW.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="What the placeholder or parameter NAME is.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def app_mesh(
    out: str,
    report_file: str | None,
    agent: str | None,
    dc: str,
    names: Sequence[str],
    values: Sequence[str],
    files: Sequence[str],
) -> int:
    """Make config of AWS App Mesh's resources, as a directory that `pointsman apply` reads.

    FILEs are what `aws appmesh describe-...` or `terraform show -json` printed, files for --cli-input-json,
    CloudFormation templates, or Kubernetes resources; "-" is standard input. Whatever is not converted is named, with
    its place and what to do instead; docs/from-app-mesh.md has the whole way.

    Exit codes: 0 all is converted; 1 refused, nothing is written; 3 written, and something that could not be converted
    is named.

    \b
      pointsman import app-mesh mesh.yaml --out config/
      pointsman apply --store pointsman.db --plan config/
    """
    for target in [Path(each) for each in (out, agent) if each]:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InvalidInput.single(str(target), "", "is not an empty directory; name a new one")
    contents = [(name, read_bytes(name, MOST_BYTES)) for name in files]
    imported = import_app_mesh(
        contents,
        datacenter=dc,
        names=_pairs("--name", names),
        values=_pairs("--set", values),
        for_agent=agent is not None,
    )
    _write(Path(out), imported.services)
    if agent:
        _write(Path(agent), imported.definitions)
    if report_file:
        Path(report_file).write_bytes(orjson.dumps(report_json(imported), option=orjson.OPT_INDENT_2) + b"\n")
    _tell(out, imported)
    if agent:
        click.echo(f"wrote {counted(len(imported.definitions), 'definition')} for agents to {agent}")
    return NOT_ALL if any(each.fate == NAMED for each in imported.ledger.told) else 0


import_.add_command(app_mesh)


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for each in given:
        left, equals, right = each.partition("=")
        if not equals or not left or left in pairs:
            reason = "is given twice for one name" if left in pairs else "is not of the form NAME=VALUE"
            raise click.UsageError(f"{option} {each} {reason}")
        pairs[left] = right
    return pairs


def _write(target: Path, files: Mapping[str, Any]) -> None:
    """Write the files of a directory, all or none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".import-") as beside:
        whole = Path(beside) / "result"
        whole.mkdir()
        for name, content in files.items():
            (whole / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        whole.rename(target)


def report_json(imported: Imported) -> dict[str, Any]:
    """What became of every resource and every field."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for kind, shape, fate in imported.resources:
        kinds.setdefault((kind, shape), Counter())[fate] += 1
    return {
        "resources": [
            {"kind": kind, "shape": shape, **{fate: count[fate] for fate in (CONVERTED, NOT_NEEDED, NAMED)}}
            for (kind, shape), count in sorted(kinds.items())
        ],
        "fields": {fate: imported.fields[fate] for fate in (CONVERTED, NOT_NEEDED, NAMED)},
        "told": [
            {"fate": each.fate, "file": each.file, "path": each.path, "text": each.text}
            | ({"instead": each.instead} if each.instead else {})
            for each in imported.ledger.told
        ],
        "remarks": imported.ledger.remarks,
    }


def _tell(out: str, imported: Imported) -> None:
    for told in imported.ledger.told:
        if told.fate == NAMED:
            click.echo(f"not converted: {told.file} {told.path}: {told.text}; instead: {told.instead}")
    for remark in imported.ledger.remarks:
        click.echo(f"note: {remark}")
    report = report_json(imported)
    for each in report["resources"]:
        fates = ", ".join(f"{each[fate]} {fate}" for fate in (CONVERTED, NOT_NEEDED, NAMED) if each[fate])
        click.echo(f"{each['kind']} ({each['shape']}): {fates}")
    fields = ", ".join(f"{count} {fate}" for fate, count in report["fields"].items())
    documents = sum(map(len, imported.services.values()))
    click.echo(f"fields: {fields}")
    click.echo(f"wrote {counted(documents, 'document')} in {counted(len(imported.services), 'file')} to {out}")
