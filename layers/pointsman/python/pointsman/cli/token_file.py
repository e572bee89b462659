"""The options of commands that speak to `pointsman up` on another machine: a token, and who vouches for the server."""

import click

from pointsman.cli.options import read_text
from pointsman.model.errors import InvalidInput
from pointsman.model.tokens import LONGEST_NAME

token_file_option = click.option(
    "--token-file",
    envvar="POINTSMAN_TOKEN_FILE",
    default="",
    metavar="FILE",
    help="A file with a token of `pointsman token make`, for `up --remote`.",
)

ca_option = click.option(
    "--ca", default="", metavar="FILE", help="The CAs that vouch for the server (PEM); default: the system's."
)


def read_token(path: str) -> str:
    """The token in a file, "" without one. Raises InvalidInput."""
    if not path:
        return ""
    token = read_text(path).strip()
    if not token or len(token) > LONGEST_NAME or not token.isascii() or not token.isprintable():
        raise InvalidInput.single("--token-file", "", f"{path} holds no token of `pointsman token make`")
    return token
