"""Reads a file that holds something of Consul's."""

from typing import Any, Final

from pointsman.model.errors import InvalidInput
from pointsman.model.json_texts import read_jsons
from pointsman.model.loading import LARGEST_FILE_BYTES, load_bytes

_SNAPSHOT: Final = b"\x1f\x8b"
"""How what `consul snapshot save` writes begins: it is a compressed archive."""


def read_consul_file(content: bytes, name: str) -> list[Any]:
    """The documents of a file: JSON, YAML or HCL. An answer of the API is one, or a list of them, and a loop
    over `consul config read` appends them one after another.

    Raises InvalidInput with the file and the reason.
    """
    if content.startswith(_SNAPSHOT):
        reason = "is compressed; if it is a snapshot of Consul's, nothing but Consul reads it: ask its API, with --url"
        raise InvalidInput.single(name, "", reason)
    if name.lower().endswith(".tf"):
        raise InvalidInput.single(name, "", "is Terraform's own language; import what `terraform show -json` prints")
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if name.lower().endswith((".hcl", ".yaml", ".yml")) or start not in (b"{", b"[", b"n"):
        return load_bytes(content, name)
    if len(content) > LARGEST_FILE_BYTES["JSON"]:
        raise InvalidInput.single(name, "", f"is longer than {LARGEST_FILE_BYTES['JSON']} bytes; split it")
    try:
        values = read_jsons(content.decode().removeprefix("\ufeff"), name, most_bytes=LARGEST_FILE_BYTES["JSON"])
    except UnicodeDecodeError as error:
        raise InvalidInput.single(name, "", f"is not UTF-8 (byte {error.start}); save it as that") from None
    listed = [each if isinstance(each, list) else [] if each is None else [each] for each in values]
    return [document for each in listed for document in each]
