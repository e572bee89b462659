"""Regular expressions as Go and Envoy have them, evaluated by RE2 itself: in time linear in the text.

Source of the syntax: https://github.com/google/re2/wiki/Syntax. Go's package regexp implements it too; if the two
differ (RE2 accepts `\\C` and two groups of one name), RE2 decides.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pointsman.model.errors import PointsmanError

if TYPE_CHECKING:
    import re2

LONGEST_REGEX: Final = 4096
"""Characters of a regular expression."""

_COMPILE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of memory for one expression when it is checked: RE2's default, and Envoy's."""

_SEARCH_BYTES: Final = 1024 * 1024
"""Bytes of memory for one expression when it is evaluated: with less RE2 still works, more slowly."""

_MOST_COMPILED: Final = 128
"""Compiled expressions in the cache: as many as the package re2 itself keeps."""

MOST_STEPS: Final = 1_000_000_000
"""Instructions times bytes that the filters of one plan may cost, over all its instances: at worst, seven seconds."""

_left: ContextVar[list[int] | None] = ContextVar("steps left", default=None)
"""What is left of the bound set by `bounded`, in a list of one number; None without a bound."""


class RegexError(ValueError):
    """A regular expression that RE2 refuses."""


class TooManySteps(PointsmanError):
    """Filters that would block everything else if they were evaluated to the end."""


@contextmanager
def bounded(steps: int = MOST_STEPS) -> Iterator[None]:
    """Inside this block all searches together may cost `steps` instructions times bytes; the next one raises
    TooManySteps."""
    token = _left.set([steps])
    try:
        yield
    finally:
        _left.reset(token)


def instructions(pattern: str) -> int:
    """How many RE2 instructions `pattern` has: the most that one character of a text can cost.

    Raises RegexError for what is no regular expression, is longer than LONGEST_REGEX, or is too large for RE2.
    """
    if len(pattern) > LONGEST_REGEX:
        raise RegexError(f"it has {len(pattern)} characters, {LONGEST_REGEX} are the most")
    return int(_compiled(pattern, _COMPILE_BYTES).programsize)


@lru_cache(maxsize=_MOST_COMPILED)
def searcher(pattern: str) -> Callable[[str], bool]:
    """A function that returns whether `pattern` matches anywhere in a text, as Go's MatchString. Raises RegexError."""
    compiled = _compiled(pattern, _SEARCH_BYTES)
    search, size = compiled.search, int(compiled.programsize)

    def found(text: str) -> bool:
        data = text.encode(errors="surrogatepass")
        left = _left.get()
        if left is not None:
            left[0] -= size * len(data)
            if left[0] < 0:
                start = f"{pattern[:40]}…" if len(pattern) > 40 else pattern
                raise TooManySteps(
                    f'the filter with "{start}" is too costly for so many instances: simplify the expression, or '
                    "shorten the values that it looks at"
                )
        return search(data) is not None

    return found


def _compiled(pattern: str, memory: int) -> "re2._Regexp":
    # Most processes never see a regular expression, and importing this one takes as long as a switch.
    import re2

    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False  # it would write to standard error
    options.never_capture = True  # nobody asks what a group matched, and it costs time
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise RegexError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise RegexError("it is not UTF-8") from None
