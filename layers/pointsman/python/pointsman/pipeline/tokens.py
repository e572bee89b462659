"""The tokens of a store: read, and changed by compare-and-swap."""

from collections.abc import Callable
from dataclasses import dataclass

from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.model.tokens import Tokens, read_tokens, tokens_json
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import seal
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, Write


@dataclass(frozen=True, slots=True)
class TokensReading:
    """The tokens as they were read, with the `etag` and `serial` to swap them."""

    tokens: Tokens
    serial: int
    etag: str | None


def read_tokens_object(stored: Stored | None) -> TokensReading:
    """The tokens in `stored`, none if it is None. Raises StoreError for a damaged object, with the way out."""
    if stored is None:
        return TokensReading(Tokens(), 0, None)
    try:
        body = parse(stored.data)
        return TokensReading(read_tokens(body), number(body, "serial"), stored.etag)
    except (Damaged, NewerSchema) as error:
        raise StoreError(f"the tokens ({stored.key}) cannot be read: {error}; restore that object") from None


def swap_tokens(engine: Engine, change: Callable[[Tokens], Tokens]) -> Tokens:
    """The tokens after `change`, which is called in each attempt and may raise.

    Raises Contended if races are lost again and again, StoreError if the tokens cannot be read.
    """
    for _ in range(ATTEMPTS):
        reading = read_tokens_object(engine.store.get(keys.TOKENS))
        after = change(reading.tokens)
        data = seal(tokens_json(after), reading.serial + 1, engine.nonce())
        if engine.store.put(Write(keys.TOKENS, data, reading.etag)).etag is not None:
            return after
    raise Contended("the tokens are contended; run it again")
