"""The answers of a function behind a URL."""

from typing import Any

LARGEST_ANSWER_BYTES = 6_000_000
"""The limit of a synchronous answer, 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""


def json_answer(code: int, body: bytes) -> dict[str, Any]:
    """An answer with this status and a JSON `body`, as Lambda takes it from a function."""
    return {"statusCode": code, "headers": {"Content-Type": "application/json"}, "body": body.decode()}
