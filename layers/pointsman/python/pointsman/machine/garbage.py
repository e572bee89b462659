"""How often Python looks for garbage in a process: one that serves, or a command."""

import gc

GARBAGE_OBJECTS = 50_000
"""Objects that are made, and not freed, until Python looks for cycles among them: a few megabytes.

With Python's default of 700 or 2,000 that takes an eighth of the time of an event in a pass of a hundred, and of a
change that goes to thousands of streams, and a third of a command that works on ten thousand resolvers. It finds next
to nothing: none of them leaves cycles behind. And a look at all of a large config takes two seconds, in which other
processes may have to wait for this one's write.
"""


def collect_rarely() -> None:
    """Look for garbage less often than Python does by default."""
    gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])


def keep_what_is() -> None:
    """Never look again at what the start has made, most of it modules, which stays until the end: each look at all of
    it would hold everything up for a tenth of a second."""
    gc.collect()
    gc.freeze()
