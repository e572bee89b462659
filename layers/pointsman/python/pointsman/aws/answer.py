"""Answers of a function that is asked at its URL."""

from aws_lambda_powertools.event_handler import Response, content_types

LARGEST_ANSWER_BYTES = 6_000_000
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, 6 MB for a synchronous answer."""


def json_answer(code: int, body: bytes) -> Response[str]:
    """An answer with this status and `body`, which is JSON."""
    return Response(status_code=code, content_type=content_types.APPLICATION_JSON, body=body.decode())
