"""What a Consul does with connections that no intention is about."""

from pointsman.importers.consul_pieces import block, get, text
from pointsman.importers.pieces import Piece


def default_action(settings: Piece | None) -> str:
    """What Consul does where there is no intention, by the settings of an agent, in a file or as it answers them, or by
    an entry of kind mesh: a setting of its own, or that of the ACLs. "" if they do not say it."""
    acl = block(settings, "acl") or block(settings, "ACLResolverSettings")
    if own := text(settings, "DefaultIntentionPolicy"):
        return own
    enabled = [get(settings, "ACLsEnabled"), get(acl, "ACLsEnabled"), get(acl, "enabled")]
    said = [each.value for each in enabled if each is not None]
    policy = text(acl, "ACLDefaultPolicy") or text(settings, "ACLDefaultPolicy") or text(acl, "default_policy")
    return (policy or "allow") if True in said else "allow" if said else ""
