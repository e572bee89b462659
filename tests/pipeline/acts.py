"""What is done in a life: the verbs, where they are done, and what goes wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pointsman.model.entries import EntryKey
from pointsman.model.events import HealthEvent
from pointsman.model.orders import Subject

from tests.pipeline.meshes import Document


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents to write, and keys to delete."""

    documents: Sequence[Document] = ()
    entries: Sequence[EntryKey] = ()
    registrations: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rollback:
    """The config of so many generations ago is the config again."""

    back: int


@dataclass(frozen=True, slots=True)
class Redelivery:
    """An earlier event is delivered again, whether it was acknowledged or not: `which` chooses among all."""

    which: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A head or a manifest becomes unreadable: `which` chooses among all of them."""

    which: int


@dataclass(frozen=True, slots=True)
class Records:
    """Events that a queue delivers together. Those that were not ingested are delivered again, one by one."""

    events: Sequence[HealthEvent]


@dataclass(frozen=True, slots=True)
class Upload:
    """A producer writes config under `key` of the bucket, and the function that is notified applies the current object.
    `content` None: no write, only another notification."""

    key: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Pointed:
    """A producer writes `content` under `key` of the bucket (None: nothing is there), and sends `event`, which points
    there, as parsed JSON. `written` is False where it comes again."""

    key: str
    content: bytes | None
    event: Mapping[str, Any]
    written: bool = True


@dataclass(frozen=True, slots=True)
class Forget:
    """So many hours have passed, and what was superseded is removed, but for what has to be kept."""

    hours: int


@dataclass(frozen=True, slots=True)
class Rescope:
    """From here on the store is for these datacenters (none: for all), for each engine once it was started again."""

    datacenters: Sequence[str]


@dataclass(frozen=True, slots=True)
class Lapse:
    """An observer has seen for a whole lease that some sources were not heard, and writes that they are silent. `which`
    chooses them, and whether what it saw is old."""

    which: int


@dataclass(frozen=True, slots=True)
class Give:
    """An operator gives an order about `subject` for so many seconds by the clock of the engine."""

    subject: Subject
    seconds: int
    force: bool


@dataclass(frozen=True, slots=True)
class End:
    """An operator ends an order before its time: `which` chooses among those in force."""

    which: int


Verb = (
    Batch
    | HealthEvent
    | Records
    | Rollback
    | Redelivery
    | Damage
    | Upload
    | Pointed
    | Forget
    | Rescope
    | Lapse
    | Give
    | End
    | Literal["reconcile", "due", "wake"]
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong for a writer at which of its steps: it crashes, the store is away for some, or from there on its
    notices are not taken."""

    at: int
    kind: Literal["crash", "away", "deaf"]
    lasting: int


@dataclass(frozen=True, slots=True)
class Act:
    """One verb: what it is called with, on which engine, and what goes wrong.

    `again` says whether an event that was not acknowledged is delivered again; `jump` by how many seconds the engine's
    clock jumps before.
    """

    what: Verb
    engine: int = 0
    trouble: Trouble | None = None
    again: bool = True
    jump: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """What happens in a life: the acts of one round at the same time, one round after another.

    `seed` decides in which order the steps of acts are taken, and the pages in which a store lists. The store is for
    the proxies of `datacenters` (empty: of all).
    """

    seed: int
    rounds: Sequence[Sequence[Act]] = field(default_factory=list)
    begins_empty: bool = False
    datacenters: Sequence[str] = ()
