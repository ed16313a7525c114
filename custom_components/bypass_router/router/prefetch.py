"""What is asked of a router at the start anyway, together with its rules.

On a link that takes long, each round trip less is a start that much sooner.
"""

from collections.abc import Callable, Mapping
import time

from .ssh.script import Result, Run, Script

# Seconds for which it is still news what was read together with the rules.
_FRESH = 5


class Prefetch:
    """Questions that are asked by the first script, and whose answers wait a moment."""

    def __init__(
        self, run: Run, questions: Mapping[str, Callable[[Script], None]]
    ) -> None:
        """Take what runs a script, and what adds each question's commands to one."""
        self._run = run
        self._questions = questions
        self._answers: dict[str, Mapping[str, Result]] = {}
        self._until: float | None = None

    def add_to(self, script: Script) -> None:
        """Add all questions, the first time."""
        if self._until is None:
            for add in self._questions.values():
                add(script)

    def keep(self, sections: Mapping[str, Result]) -> None:
        """Take the answers, the first time."""
        if self._until is None:
            self._answers = dict.fromkeys(self._questions, sections)
            self._until = time.monotonic() + _FRESH

    def forget(self) -> None:
        """Have each question asked again, since something is changed."""
        self._answers.clear()

    async def ask(self, name: str) -> Mapping[str, Result]:
        """Return an answer that was given a moment ago, once, or ask."""
        sections = self._answers.pop(name, None)
        if sections is None or time.monotonic() > (self._until or 0):
            script = Script()
            self._questions[name](script)
            sections = await self._run(script)
        return sections
