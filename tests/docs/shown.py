"""What a page shows below a block of code, beside what the block prints.

What varies is compared loosely: seconds not at all; the kernel's line only where the instruction set and the profile of costs are those
that printed it;
numbers at the level of rounding within a factor of 1,000; other numbers with a point to a relative 1e-4, since another BLAS sums in
another order.
"""

import re

from linalign.engine.config import config

NUMBER = r"\d[\d,]*\.?\d*(?:e[-+]?\d+)?"


def words_and_numbers(line):
    """The line without its numbers and the space between columns, and the numbers as written."""
    line = re.sub(rf"{NUMBER} s\)$", "seconds)", line)
    return " ".join(re.sub(NUMBER, "#", line).split()), re.findall(NUMBER, line)


def alike(found, shown):
    """Whether two numbers as written are the same but for what rounding may do."""
    a, b = (float(number.replace(",", "")) for number in (found, shown))
    if abs(b) < 1e-10:
        return a <= 1e3 * b
    return abs(a - b) <= 1e-4 * abs(b) if "." in shown or "e" in shown else found == shown


def same_kernel(shown):
    """Whether what is shown was printed with this processor's instruction set and costs: the pages are made with those of Zen 4."""
    found = config()
    return found["instruction set"].split()[0] in shown and found["profile"].startswith("zen4")


def differences(found, shown, *, kernel=True):
    """Pairs of lines that are not alike; without `kernel` the plan's line of this name is left out."""
    pairs = zip(found.splitlines(), shown.splitlines(), strict=True)
    different = []
    for line, other in pairs:
        if not kernel and line.split()[:1] == other.split()[:1] == ["kernel"]:
            continue
        words, numbers = words_and_numbers(line)
        expected, values = words_and_numbers(other)
        if words != expected or not all(alike(*both) for both in zip(numbers, values, strict=True)):
            different.append((line, other))
    return different
