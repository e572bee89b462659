"""With what an agent is let in by a control plane."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Access:
    """A token ("" for none), and a PEM file with the CAs that vouch for the server ("": those of the system)."""

    token: str = field(default="", repr=False)
    ca: str = ""


NO_ACCESS = Access()
"""Nothing: for a control plane on this machine."""
