"""Times of events, as numbers."""

from datetime import datetime


def moment_of(time: str | None) -> int | None:
    """A time (RFC 3339) as milliseconds since 1970; None if it is invalid, has no offset, or is before 1970."""
    try:
        parsed = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    if parsed.tzinfo is None or parsed.timestamp() < 0:
        return None
    return int(parsed.timestamp() * 1000)
