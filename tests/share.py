"""How much of what can't be tried in full is tried: CI's amount, or a part of it."""

from typing import Final

from hypothesis import settings

SHARE: Final = settings().max_examples / settings.get_profile("tests").max_examples
"""Of CI's amount: one, or a part under the profile of `scripts/test --fast`."""
