"""A mark of all that the page shows: it changes whenever something of it does."""

from hashlib import blake2b

from pointsman.store import keys
from pointsman.store.protocol import Store

_PREFIXES = (keys.SNAPSHOTS, keys.CATALOG, keys.TROUBLE, keys.SEEN)


def read_mark(store: Store) -> str:
    """The mark of what the store has now, without what only says that a source was heard again. Raises StoreError."""
    digest = blake2b(digest_size=12)
    for prefix in _PREFIXES:
        for line in sorted(f"{each.key} {each.etag}\n" for each in store.list(prefix)):
            digest.update(line.encode())
    for line in sorted(f"{each.key} {each.etag}\n" for each in store.list(keys.LEASES) if keys.is_silence(each.key)):
        digest.update(line.encode())
    for key, stored in sorted(store.get_many([keys.CONFIG_HEAD, keys.ORDERS]).items()):
        digest.update(f"{key} {stored.etag}\n".encode())
    return digest.hexdigest()
