"""Names of services: the first label of what they were called in App Mesh, each of one thing only."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.names import is_ip, is_label

LONGEST_LABEL: Final = 63

_OTHERS = re.compile(r"[^a-z0-9]+")


def label(text: str) -> str:
    """A DNS label made of the first one in `text`, after a namespace of Kubernetes (`namespace/name`); "" if there is
    none."""
    return _OTHERS.sub("-", text.rpartition("/")[2].partition(".")[0].lower()).strip("-")[:LONGEST_LABEL].strip("-")


def known_as(called: str, known: Container[str]) -> str:
    """Which of the names that are `known` a reference means: in Kubernetes either may leave out the namespace, which
    `kubectl -n` says."""
    namespace, slash, own = called.rpartition("/")
    other = f"/{own}" if namespace else own
    return other if slash and called not in known and other in known else called


@dataclass(slots=True)
class Names:
    """The services' names, by what they were called. `chosen` are those that the user gave."""

    chosen: Mapping[str, str]
    _taken: dict[str, dict[str, str]] = field(default_factory=dict)
    _together: set[tuple[str, str]] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)

    def service(self, old: str, thing: str, *others: str) -> str:
        """The name of what was called `old` or one of `others`; `thing` is what it is, for messages."""
        chosen = next((each for each in (old, *others) if each in self.chosen), "")
        self._used.add(chosen)
        name = self.chosen.get(chosen, "") or label(next((each for each in (old, *others) if not is_ip(each)), old))
        self._taken.setdefault(name, {}).setdefault(old, thing)
        return name

    def same(self, one: str, other: str) -> None:
        """What was called `one` leads to what was called `other`: they may have one name."""
        self._together.add((one, other))

    def own(self, wanted: str) -> str:
        """A name that nothing else has, `wanted` or one like it."""
        name, number = label(wanted), 1
        while name in self._taken:
            number += 1
            name = f"{label(wanted)[: LONGEST_LABEL - 4]}-{number}"
        self._taken[name] = {name: "a split"}
        return name

    def check_chosen(self) -> None:
        """Raises InvalidInput if the user gave a name to what is not there."""
        unused = [each for each in self.chosen if each not in self._used]
        if unused:
            reason = "nothing in these files is called so; write the name as the report has it"
            raise InvalidInput([Problem(f"--name {each}={self.chosen[each]}", "", reason) for each in unused])

    def check(self) -> None:
        """Raises InvalidInput if a name is none, or that of two things."""
        problems = []
        for name, olds in sorted(self._taken.items()):
            old = max(olds)
            if not is_label(name):
                reason = f'"{name}" is no lower-case DNS label; name it: --name {old}=NEW'
                problems.append(Problem(olds[old], "", reason))
            together = len(olds) == 2 and (tuple(olds) in self._together or tuple(olds)[::-1] in self._together)
            if len(olds) > 1 and not together:
                all_of_them = " and ".join(f"{olds[each]} ({each})" for each in sorted(olds))
                reason = f"would be the name of {all_of_them}; give all but one another: --name {old}=NEW"
                problems.append(Problem(f'service "{name}"', "", reason))
        if problems:
            raise InvalidInput(problems)
