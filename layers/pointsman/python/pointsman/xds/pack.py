"""Small protobuf helpers."""

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def packed(message: Message) -> Any:
    """`message` inside an Any; equal messages give equal bytes."""
    out = Any()
    out.Pack(message, deterministic=True)
    return out


def milliseconds(value: int) -> Duration:
    """A protobuf duration of `value` milliseconds."""
    return Duration(seconds=value // 1000, nanos=value % 1000 * 1_000_000)
