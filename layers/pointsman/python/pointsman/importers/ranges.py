"""A number in a range, as a regular expression: a `service-router` compares text only."""


def range_pattern(start: int, end: int) -> str:
    """A regular expression for all decimal numbers from `start` to `end`, without `end`, as Envoy reads them: with a
    sign or without, and with zeros before. `start` is less than `end`."""
    parts = []
    if end > 0:
        parts.append(rf"\+?0*(?:{'|'.join(_between(max(start, 0), end - 1))})")
    if start < 0:
        parts.append(f"-0*(?:{'|'.join(_between(max(1 - end, 1), -start))})")
    if start <= 0 < end:
        parts.append("-0+")
    return "|".join(parts)


def _between(low: int, high: int) -> list[str]:
    """Expressions for the numbers from `low` to `high`, 0 or more, one number of digits after another."""
    found = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        found += _digits(str(least), str(min(high, 10**digits - 1)))
    return found


def _digits(low: str, high: str) -> list[str]:
    """Expressions for the numbers from `low` to `high`, which have the same number of digits."""
    if low == high:
        return [low]
    if low[0] == high[0]:
        return [low[0] + rest for rest in _digits(low[1:], high[1:])]
    more = len(low) - 1
    first, last = int(low[0]), int(high[0])
    before: list[str] = []
    after: list[str] = []
    if low[1:] != "0" * more:
        before = [low[0] + rest for rest in _digits(low[1:], "9" * more)]
        first += 1
    if high[1:] != "9" * more:
        after = [high[0] + rest for rest in _digits("0" * more, high[1:])]
        last -= 1
    rest = {0: "", 1: "[0-9]"}.get(more, f"[0-9]{{{more}}}")
    whole = [(f"[{first}-{last}]" if first < last else str(first)) + rest] if first <= last else []
    return [*before, *whole, *after]
