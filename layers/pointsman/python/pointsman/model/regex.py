"""Regular expressions as Go and Envoy have them, evaluated by RE2 itself: in time linear in the text.

Source of the syntax: https://github.com/google/re2/wiki/Syntax. Go's package regexp is another implementation of it;
what one of the two takes and the other refuses (RE2 takes `\\C` and two groups of one name) is taken here.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import re2

LONGEST_REGEX: Final = 4096
"""Characters of a regular expression."""

_COMPILE_BYTES: Final = 8 * 1024 * 1024
"""Memory that one expression may take where it is checked: RE2's default, which Envoy starts from, too."""

_SEARCH_BYTES: Final = 1024 * 1024
"""Memory that one expression may take where it is evaluated: with less of it RE2 goes on, more slowly."""

_MOST_COMPILED: Final = 128
"""Expressions that are kept compiled: as many as the package re2 keeps itself."""


class RegexError(ValueError):
    """A regular expression that RE2 refuses."""


def instructions(pattern: str) -> int:
    """How many instructions RE2 makes of `pattern`: what one character of a text costs at most.

    Raises RegexError for what is no regular expression, is longer than LONGEST_REGEX, or is too large for RE2.
    """
    if len(pattern) > LONGEST_REGEX:
        raise RegexError(f"it has {len(pattern)} characters, {LONGEST_REGEX} are the most")
    return int(_compiled(pattern, _COMPILE_BYTES).programsize)


@lru_cache(maxsize=_MOST_COMPILED)
def searcher(pattern: str) -> Callable[[str], bool]:
    """A function that says whether `pattern` is found anywhere in a text: Go's MatchString. Raises RegexError."""
    search = _compiled(pattern, _SEARCH_BYTES).search
    return lambda text: search(text.encode(errors="surrogatepass")) is not None


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
