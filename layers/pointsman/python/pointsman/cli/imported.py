"""What the commands of `pointsman import` share: they write a directory, and tell what became of everything."""

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import orjson

from pointsman.cli.options import Option
from pointsman.importers.imported import Imported
from pointsman.importers.pieces import CONVERTED, NAMED, NOT_NEEDED, Told
from pointsman.model.errors import InvalidInput
from pointsman.model.words import counted

NOT_ALL: Final = 3
"""The exit code if something could not be converted."""

MOST_ALIKE: Final = 3
"""Lines about the same field of several resources: instances of a service are configured alike."""

_INDEX: Final = re.compile(r"\[\d+\]")

out_option: Option = click.option(
    "--out", required=True, metavar="DIR", help="Where the result goes: a new or empty directory."
)
"""`--out`."""

report_option: Option = click.option(
    "--report", "report_file", metavar="FILE", help="Write what became of every field, as JSON."
)
"""`--report`."""


def check_out(out: str | None) -> None:
    """Raises InvalidInput unless the directory is new or empty; None is none."""
    target = Path(out or "")
    if out and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput.single(out, "", "is not an empty directory; name a new one")


Beside = tuple[str | None, Mapping[str, Any], str, str]
"""Another directory to write, None for none: its files, what one of them is, and what for."""


def deliver(out: str, report_file: str | None, imported: Imported, *beside: Beside) -> int:
    """Write what was imported to `out`, what is `beside` it, and the report; tell of it. Returns the exit code."""
    for directory, files in [(out, imported.files), *((each[0], each[1]) for each in beside)]:
        if directory:
            _write(Path(directory), files)
    if report_file:
        Path(report_file).write_bytes(orjson.dumps(report_json(imported), option=orjson.OPT_INDENT_2) + b"\n")
    _tell(out, imported)
    for directory, files, what, whom in beside:
        if directory:
            click.echo(f"wrote {counted(len(files), what)} {whom} to {directory}")
    return NOT_ALL if any(each.fate == NAMED for each in imported.ledger.told) else 0


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """What is given as NAME=VALUE, several times. Raises UsageError."""
    found = {}
    for each in given:
        left, equals, right = each.partition("=")
        if not equals or not left or left in found:
            reason = "is given twice for one name" if left in found else "is not of the form NAME=VALUE"
            raise click.UsageError(f"{option} {each} {reason}")
        found[left] = right
    return found


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


def _place(told: Told) -> str:
    return f"{told.file} {told.path}".rstrip()


def _tell(out: str, imported: Imported) -> None:
    alike: Counter[tuple[str, str]] = Counter()
    for told in imported.ledger.told:
        if told.fate == NAMED:
            kind = _INDEX.sub("[…]", told.path), told.instead
            alike[kind] += 1
            if alike[kind] <= MOST_ALIKE:
                click.echo(f"not converted: {_place(told)}: {told.text}; instead: {told.instead}")
    for (path, instead), number in alike.items():
        if number > MOST_ALIKE:
            click.echo(f"not converted: {number - MOST_ALIKE} more at {path}; instead: {instead} (--report has each)")
    for remark in imported.ledger.remarks:
        click.echo(f"note: {remark}")
    report = report_json(imported)
    for each in report["resources"]:
        fates = ", ".join(f"{each[fate]} {fate}" for fate in (CONVERTED, NOT_NEEDED, NAMED) if each[fate])
        click.echo(f"{each['kind']} ({each['shape']}): {fates}")
    fields = ", ".join(f"{count} {fate}" for fate, count in report["fields"].items())
    documents = sum(map(len, imported.files.values()))
    click.echo(f"fields: {fields}")
    click.echo(f"wrote {counted(documents, 'document')} in {counted(len(imported.files), 'file')} to {out}")
