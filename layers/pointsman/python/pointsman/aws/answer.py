"""The answers of a function behind a URL."""

from aws_lambda_powertools.event_handler import Response, content_types

LARGEST_ANSWER_BYTES = 6_000_000
"""The limit of a synchronous answer, 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""


def json_answer(code: int, body: bytes) -> Response[str]:
    """An answer with this status and a JSON `body`."""
    return Response(status_code=code, content_type=content_types.APPLICATION_JSON, body=body.decode())
