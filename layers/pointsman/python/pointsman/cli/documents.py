"""The documents in the files and directories that a command names."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from pointsman.cli.options import read_bytes
from pointsman.model.consul_documents import config_documents
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.loading import MOST_BYTES, load_bytes
from pointsman.model.shape import value_of
from pointsman.pipeline.configure import MOST_DOCUMENTS

MOST_FILES: Final = 10_000
"""Files of config of one directory."""

MOST_LEVELS: Final = 20
"""Directories below each other in one that is read."""

_STRANGE: Final = (
    "has something without a Kind, so it is no config entry, and it is no registration either; "
    "`pointsman import consul` reads what else Consul answers"
)
_ENDINGS: Final = (".hcl", ".json", ".yaml", ".yml")


def read_documents(names: Iterable[str], datacenter: str = "") -> Sequence[Mapping[str, Any]]:
    """The documents of all files with these names, "-" for standard input, and of all files of config below those that
    are directories. What is not for Pointsman is passed over, and named on stderr.

    `datacenter` is that of registrations that name none. Raises InvalidInput, and OSError for what cannot be read.
    """
    documents: list[dict[str, Any]] = []
    files: dict[int, str] = {}
    for path in files_of(names):
        loaded = load_bytes(read_bytes(path, MOST_BYTES), path)
        documents += loaded
        files |= dict.fromkeys(map(id, loaded), path)
        if len(documents) > MOST_DOCUMENTS:
            reason = f"holds document {MOST_DOCUMENTS + 1} of the batch, {MOST_DOCUMENTS} are the most"
            raise InvalidInput.single(path, "", f"{reason}; write them in several")
    brought, passed_over = config_documents(documents, datacenter=datacenter)
    for line in passed_over:
        click.echo(f"passed over: {line}", err=True)
    # What the reader does not know it leaves as it is.
    left = {id(each) for each in brought if value_of(each, "Kind") is None and value_of(each, "Service") is None}
    answers = {id(each) for each in documents if isinstance(value_of(each, "Node"), Mapping)}
    if strange := {files[each]: None for each in files if each in left or each in answers}:
        raise InvalidInput([Problem("standard input" if path == "-" else path, "", _STRANGE) for path in strange])
    return brought


def files_of(names: Iterable[str]) -> Iterator[str]:
    """The files with these names, "-" for standard input, and all files of config below those that are directories.

    Raises InvalidInput, and OSError for what cannot be read.
    """
    for name in names:
        yield from _files(Path(name)) if name != "-" and Path(name).is_dir() else [name]


def _files(directory: Path) -> list[str]:
    """The files of config below `directory`, in the order of their paths. Hidden ones, and directories behind links,
    are passed over."""
    found: list[str] = []
    for path in _below(directory):
        if path.name.endswith(_ENDINGS):
            found.append(str(path))
        if len(found) > MOST_FILES:
            reason = f"has more than {MOST_FILES} files of config; name several directories below it, one after another"
            raise InvalidInput.single(str(directory), "", reason)
    if not found:
        # More often a wrong path than no config at all.
        raise InvalidInput.single(str(directory), "", f"has no file of config: none ends in {', '.join(_ENDINGS)}")
    return sorted(found)


def _below(directory: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for where, directories, files in os.walk(directory, onerror=refuse):
        directories[:] = [each for each in directories if not each.startswith(".")]
        if directories and len(Path(where).relative_to(directory).parts) >= MOST_LEVELS:
            reason = f"has directories more than {MOST_LEVELS} levels deep: {Path(where) / directories[0]}"
            raise InvalidInput.single(str(directory), "", reason)
        yield from (Path(where) / each for each in files if not each.startswith("."))
