"""Intentions as Consul's API lists them one by one, made into the entries that it has for them since 1.9."""

from collections.abc import Collection
from typing import Final

from pointsman.importers.consul_units import Unit
from pointsman.importers.pieces import Ledger, Piece

KIND: Final = "service-intentions"

_OF_SOURCE: Final = {"SourceName": "Name", "SourceNS": "Namespace", "SourcePartition": "Partition"} | {
    "SourcePeer": "Peer",
    "SourceSamenessGroup": "SamenessGroup",
    "SourceType": "Type",
    "Action": "Action",
    "Permissions": "Permissions",
    "JWT": "JWT",
    "Description": "Description",
}


def of_rows(rows: list[Piece], there: Collection[str], ledger: Ledger) -> list[Unit]:
    """One entry for each destination; `there` are those that have one already, and the rows say no more than that."""
    by: dict[tuple[str, str], list[Piece]] = {}
    for row in rows:
        destination = row.text("DestinationName")
        if destination in there:
            ledger.pass_over(row, f'service-intentions "{destination}" says it')
        else:
            by.setdefault((row.text("DestinationNS"), destination), []).append(row)
    return [_unit(found) for found in by.values()]


def _unit(rows: list[Piece]) -> Unit:
    first = rows[0]
    sources = [
        Piece(row.file, row.path, {new: row.value[old] for old, new in _OF_SOURCE.items() if old in row.value})
        for row in rows
    ]
    fields = {"Name": first.value["DestinationName"], "Sources": Piece(first.file, first.path, sources)}
    fields |= {"Namespace": first.value["DestinationNS"]} if "DestinationNS" in first.value else {}
    whole = Piece(first.file, first.path, {str(i): row for i, row in enumerate(rows)})
    return Unit(KIND, "intentions", whole, Piece(first.file, first.path, fields), {"Kind": KIND}, tuple(rows))
