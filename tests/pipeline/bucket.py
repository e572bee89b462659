"""What is beside a store in its bucket: lists that events point to, and config that is uploaded."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from urllib.parse import quote_plus

from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.model.sources.pointer import ListsAt
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.upload import read_upload
from pointsman.pipeline.config import Config
from pointsman.pipeline.configure import Batch, Configured, parse_documents
from pointsman.pipeline.deploy import deploy
from pointsman.pipeline.engine import Engine

from tests.pipeline.acts import Pointed, Upload
from tests.pipeline.memory import Step
from tests.pipeline.stories import LISTS, UPLOADS

_NAME = "bucket"
_SETTINGS = SourceSettings(lists=ListsAt(_NAME, LISTS))


class Bucket:
    """The objects beside a store, with every content that each has had, and which of them have to be the config.

    Reading one takes two steps, at each of which others may run.
    """

    def __init__(self, step: Callable[[Step], None]) -> None:
        self.read_anew = 0
        """How often an upload was applied again, because it had changed meanwhile."""
        self._step = step
        self._contents: dict[str, list[bytes | None]] = {}
        self._due: dict[str, int] = {}
        self._rollbacks = 0

    def events(self, pointed: Pointed) -> Sequence[HealthEvent]:
        """The events with the lists that they point to. Raises InvalidInput for a missing list."""
        if pointed.written:
            self._contents.setdefault(pointed.key, []).append(pointed.content)
        reading: Reading = read_events(pointed.event, _SETTINGS)
        while reading.missing is not None:
            reading = read_events(reading.missing.filled(self._read(pointed.key)[1]), _SETTINGS)
        return reading.events

    def was_replaced(self, pointed: Pointed) -> bool:
        """Whether the list that an event points to has had another content: then the event is another one when it
        comes again."""
        return len(self._contents.get(pointed.key, ())) > 1

    def deploy(self, engine: Engine, upload: Upload) -> Iterator[Configured]:
        """Apply the config that is uploaded, as the function does. Raises InvalidInput if it cannot be read."""
        if upload.content is not None:
            self._contents.setdefault(upload.key, []).append(upload.content)
        numbers: list[int] = []
        rollbacks = self._rollbacks

        def content_of() -> bytes | None:
            number, content = self._read(upload.key)
            numbers.append(number)
            return content

        yield from deploy(engine, content_of, partial(_batch_of, upload.key), "")
        self.read_anew += len(numbers) > 2
        if rollbacks == self._rollbacks:
            self._due[upload.key] = max(numbers[-1], self._due.get(upload.key, 0))

    def rolls_back(self) -> None:
        """The config of an earlier generation becomes the config, or just has: what was uploaded need not stand."""
        self._rollbacks += 1
        self._due.clear()

    def problems(self, config: Config) -> list[str]:
        """The uploads that were applied and are not in `config`, neither as they were then nor as they were later."""
        problems = []
        for key, number in self._due.items():
            later = list(map(partial(_parsed, key), self._contents[key][number - 1 :]))
            # Who cannot read what was written last leaves what it applied before, though that may be older.
            if None not in later and not any(each and _has(config, each) for each in later):
                problems.append(f"{key}: was applied, but its content {number} or a later one is not the config")
        return problems

    def _read(self, key: str) -> tuple[int, bytes | None]:
        self._step(Step("get", key, "before"))
        contents = self._contents[key]
        found = len(contents), contents[-1]
        self._step(Step("get", key, "after"))
        return found


def _batch_of(key: str, content: bytes | None) -> Batch:
    created = {"bucket": {"name": _NAME}, "object": {"key": quote_plus(key)}}
    upload = read_upload({"Records": [{"eventSource": "aws:s3", "s3": created}]}, _NAME, UPLOADS)
    assert upload is not None
    return parse_documents(upload.documents(content))


def _parsed(key: str, content: bytes | None) -> Batch | None:
    try:
        return _batch_of(key, content)
    except InvalidInput:
        return None


def _has(config: Config, batch: Batch) -> bool:
    return all(config.entries.get((each.kind, each.namespace, each.name)) == each for each in batch.entries) and all(
        config.registrations.get(each.key) == each for each in batch.registrations
    )
