"""One App Mesh resource, as the files have it."""

from dataclasses import dataclass, field
from typing import Final

from pointsman.importers.pieces import Piece

KINDS: Final = ("Mesh", "VirtualNode", "VirtualRouter", "Route", "VirtualService", "VirtualGateway", "GatewayRoute")

NOT_OURS: Final = "is not App Mesh's; passed over"
MESH: Final = "there are no meshes here: one store is one mesh"


@dataclass(slots=True, eq=False)
class Resource:
    """One App Mesh resource: its kind, its name and the others by which the source calls it, and its spec.

    `parent` is the router of a route, the gateway of a gateway route; "" if the source does not say. `shape` is
    `CloudFormation`, `Kubernetes`, `Terraform` or `JSON`; `names` is where its name stands.
    """

    kind: str
    shape: str
    name: str
    place: Piece
    spec: Piece
    parent: str = ""
    names: list[Piece] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = "".join(f" {each.lower()}" if each.isupper() else each for each in self.kind).strip()
        return f'{words} "{self.name}"'
