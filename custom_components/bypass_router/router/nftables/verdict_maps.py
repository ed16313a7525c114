"""Maps of verdicts: what becomes of a packet by the element that it meets."""

from collections.abc import Iterator, Mapping

from ..passage.chains import Action, Branch
from ..passage.packet import Condition, Key
from .conditions import Selector, joined
from .words import Comparison, Words

type Elements = Mapping[str, tuple[str, ...]]
"""Of maps of verdicts, by name, those that are known."""

VERDICTS = {
    "accept": Action.ACCEPT,
    "drop": Action.DROP,
    "reject": Action.DROP,
    "return": Action.RETURN,
    "continue": Action.CONTINUE,
    "queue": Action.QUEUE,
    "jump": Action.JUMP,
    "goto": Action.GOTO,
}
"""The words that end a rule, or lead on."""
_ENDS_OF_KEYS = frozenset({"timeout", "expires", "comment", "counter", "limit"})
WHO_KNOWS = Condition(Key.UNKNOWN, by_client=True)
"""What may be so or not, and may tell one client from another."""


def read_map(
    words: Words, selectors: list[Selector], known: Elements
) -> Iterator[Branch]:
    """Take a map's elements, or its name, and yield what each of them does.

    Of a map that is not known, no one can say.
    """
    if words.next == "{":
        elements = [part.rest() for part in words.group().parts(",")]
    else:
        named = known.get(words.take().removeprefix("@"))
        if named is None:
            unknown = joined(selectors).condition(Comparison())
            for action in (Action.ACCEPT, Action.DROP):
                yield Branch((unknown,), action)
            return
        elements = [Words.of(text).rest() for text in named]
    for element in elements:
        yield from _branch(element, selectors)


def _branch(element: list[str], selectors: list[Selector]) -> Iterator[Branch]:
    """Yield what an element does."""
    if ":" not in element:
        return
    colon = len(element) - 1 - element[::-1].index(":")
    keys, verdict = element[:colon], element[colon + 1 :]
    action = VERDICTS.get(verdict[0] if verdict else "")
    if action is None:
        return
    chain = verdict[1] if len(verdict) > 1 else ""
    yield Branch(conditions_of(keys, selectors), action, chain)


def conditions_of(keys: list[str], selectors: list[Selector]) -> tuple[Condition, ...]:
    """Return what an element's key asks for, of what is looked at together."""
    values = _values(keys)
    if values == ["*"]:
        return ()
    if len(values) != len(selectors):
        return (WHO_KNOWS,)
    return tuple(
        selector.condition(Comparison((value,)))
        for selector, value in zip(selectors, values, strict=True)
    )


def _values(keys: list[str]) -> list[str]:
    """Return the parts of a key, which have dots between them."""
    parts = [""]
    for word in keys:
        if word in _ENDS_OF_KEYS:
            break
        if word == ".":
            parts.append("")
        else:
            parts[-1] += word
    return parts
