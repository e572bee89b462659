"""One App Mesh resource, as the files have it."""

from dataclasses import dataclass, field
from typing import Final

from pointsman.importers.pieces import Piece, Told

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
    unread: list[Told] = field(default_factory=list)
    """What of its spec does not fit the API's, and is not in `spec`."""

    def unknown(self) -> tuple[str, str] | None:
        """What to say of a route of which not every condition and target is known: the reason, and what to do. None if
        all are."""
        for each in self.unread:
            steps = [step.partition("[")[0].casefold() for step in each.path.removeprefix(self.spec.path).split(".")]
            part = next((part for part in ("match", "action") if part in steps), "")
            if part and not (part == "action" and steps[-1] in ("weight", "port")):
                return f"something of its {part} is not known", each.instead
        return None

    def __str__(self) -> str:
        words = "".join(f" {each.lower()}" if each.isupper() else each for each in self.kind).strip()
        return f'{words} "{self.name}"'
