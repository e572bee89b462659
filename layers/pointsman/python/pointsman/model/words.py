"""Words for people."""


def counted(number: int, thing: str) -> str:
    """`number` with the noun `thing` in the singular or the plural: `1 snapshot`, `2 snapshots`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
