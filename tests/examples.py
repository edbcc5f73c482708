"""Examples of property tests: the same ones each time, or ones that nobody has seen yet.

`LINALIGN_HYPOTHESIS` chooses: "fixed", as without it, for tests whose verdict depends on the code alone; "explore" (`make explore`)
for many more, drawn anew each time, of which those that fail are kept in `.hypothesis` and tried first from then on.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = Path(__file__).parents[1]
# a busy machine is no failure, and neither is an example that is slow to make
ALWAYS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
USUAL, MORE = 100, 20

PROFILES = {
    "fixed": settings(**ALWAYS, max_examples=USUAL, derandomize=True, database=None),
    "explore": settings(
        **ALWAYS, max_examples=USUAL * MORE, derandomize=False, print_blob=True,
        database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    ),
}  # fmt: skip


def load() -> None:
    """Before any test is read. Raises: ValueError for a name that is none of the two."""
    name = os.environ.get("LINALIGN_HYPOTHESIS", "fixed")
    if name not in PROFILES:
        raise ValueError(f"LINALIGN_HYPOTHESIS is {name!r}; one of {', '.join(PROFILES)} was wanted")
    for profile, chosen in PROFILES.items():
        settings.register_profile(profile, chosen)
    settings.load_profile(name)


def examples(count: int) -> settings:
    """So many examples of a test, and as many times more as the profile asks for."""
    return settings(max_examples=count * settings.default.max_examples // USUAL)


def times(usual: int, exploring: int) -> int:
    """How often to do what takes long: so many times, or so many where the profile explores."""
    return usual if settings.default.max_examples == USUAL else exploring
