"""The clusters that a name used by Envoys may belong to."""

from pointsman.model.names import is_label


def cluster_ids_in(name: str) -> list[str]:
    """The ids of the clusters that this can be the name of, or of their endpoints: mostly one, none if it is no name.

    A name is `<cluster id>.internal.<trust domain>`, and perhaps more after that. An id is a datacenter, or
    `[subset.]service.namespace.datacenter` with perhaps `<hash>:` before it (docs/semantics.md, sections 5 and 7);
    any of them may be called "internal".
    """
    hashed, colon, plain = name.rpartition(":")
    if colon and not is_label(hashed):
        return []
    labels = plain.split(".", 5)
    found = []
    for count in (1, 3, 4):
        ours, rest = labels[:count], labels[count:]
        if len(rest) > 1 and rest[0] == "internal" and all(map(is_label, ours)):
            found.append(f"{hashed}{colon}{'.'.join(ours)}")
    return found
