"""What is answered when something went wrong."""

from collections.abc import Callable
from logging import getLogger

from pointsman.api.request import Answer, Declined
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.pipeline.engine import Contended
from pointsman.store.protocol import StoreUnavailable

_log = getLogger(__name__)

AGAIN = {"retry-after": "1"}
"""The header that goes with "send it again"."""


def guarded(run: Callable[[], Answer]) -> Answer:
    """The answer from `run`; if it raises, the answer that says why. Raises nothing."""
    try:
        return run()
    except Exception as error:
        return refusal(error)


def refusal(error: Exception) -> Answer:
    """The answer for an error. A defect of ours is logged."""
    match error:
        case InvalidInput():
            return Answer(400, {"error": str(error), "problems": [str(problem) for problem in error.problems]})
        case Declined():
            return Answer(error.status, {"error": str(error)}, error.headers)
        case Contended():
            return _again(409, str(error))
        case StoreUnavailable():
            return later(str(error))
        case PointsmanError():
            return Answer(500, {"error": str(error)})
        case MemoryError():
            return later("out of memory")
        case _:
            _log.error("a request could not be answered", exc_info=error)
            return Answer(500, {"error": f"a defect of ours, which the log has: {type(error).__name__}"})


def later(reason: str) -> Answer:
    """The answer 503: the sender may try again."""
    return _again(503, reason)


def _again(status: int, reason: str) -> Answer:
    text = reason if reason.endswith("again") else f"{reason}; send it again"
    return Answer(status, {"error": text}, AGAIN)
