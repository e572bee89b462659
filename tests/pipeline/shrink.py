"""The shortest story that still goes wrong."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tests.pipeline.acts import Act, Batch, Records, Story

MOST_LIVES = 500
"""How many stories are lived in search of a shorter one."""


def shrunk(story: Story, goes_wrong: Callable[[Story], bool]) -> Story:
    """A story of which nothing can be left out, or not within MOST_LIVES."""
    lives, shorter = 0, True
    while shorter:
        shorter = False
        for candidate in _shorter(story):
            lives += 1
            if lives > MOST_LIVES:
                return story
            if goes_wrong(candidate):
                story, shorter = candidate, True
                break
    return story


def _shorter(story: Story) -> Iterator[Story]:
    """One round less, one act less, one detail less."""
    rounds = story.rounds
    for i, acts in enumerate(rounds):
        yield replace(story, rounds=[*rounds[:i], *rounds[i + 1 :]])
        for j in range(len(acts)) if len(acts) > 1 else ():
            yield _with_round(story, i, [*acts[:j], *acts[j + 1 :]])
    for i, acts in enumerate(rounds):
        for j, act in enumerate(acts):
            for plainer in _plainer(act):
                yield _with_round(story, i, [*acts[:j], plainer, *acts[j + 1 :]])


def _with_round(story: Story, number: int, acts: Sequence[Act]) -> Story:
    return replace(story, rounds=[*story.rounds[:number], acts, *story.rounds[number + 1 :]])


def _plainer(act: Act) -> Iterator[Act]:
    if act.trouble is not None:
        yield replace(act, trouble=None)
    if act.jump:
        yield replace(act, jump=0)
    if act.engine:
        yield replace(act, engine=0)
    if isinstance(act.what, Batch) and len(act.what.documents) > 1:
        for i in range(len(act.what.documents)):
            left = [*act.what.documents[:i], *act.what.documents[i + 1 :]]
            yield replace(act, what=replace(act.what, documents=left))
    if isinstance(act.what, Records) and len(act.what.events) > 1:
        for i in range(len(act.what.events)):
            yield replace(act, what=Records([*act.what.events[:i], *act.what.events[i + 1 :]]))


def told(story: Story) -> str:
    """The story, for people: what happens at the same time stands together."""
    lines = [f"seed {story.seed}, from {'an empty store' if story.begins_empty else 'BEGINNING'} on"]
    for number, acts in enumerate(story.rounds, start=1):
        lines.append(f"round {number}, at the same time:")
        for act in acts:
            lines.append(f"  engine {act.engine}: {act.what}")
            if act.trouble:
                lines.append(f"    {act.trouble}, {'comes' if act.again else 'does not come'} again")
            if act.jump:
                lines.append(f"    its clock jumps by {act.jump} s before")
    return "\n".join(lines)
