"""Damage: what is said of a file that does not hold what it should, whatever the library that read it raised."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator


class Damaged(ValueError):
    """A file, or a part of one, is not what it says it is, or would need far more memory than it has bytes."""


@contextlib.contextmanager
def damage() -> Iterator[None]:
    """What parsing raises inside becomes `Damaged`, in one line.

    Parsers of damaged files raise nearly everything: zipfile alone BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error
    and zlib.error. What says something of the machine and not of the file stays as it is: OSError with a number of the system, and
    MemoryError, for sizes are compared with the file before memory is asked for.
    """
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except OSError as error:
        # seeking to where a file says that it goes on may be refused as no place
        if error.errno not in (None, errno.EINVAL):
            raise
        raise Damaged(line(error)) from None
    except KeyError as error:
        raise Damaged(f"there is no {error}") from None
    except Exception as error:
        raise Damaged(line(error)) from None


def line(error: BaseException) -> str:
    """The first line of what an error says, or its name; no more than fits on a screen: some have whole files in them."""
    found = next(iter(str(error).splitlines()), "") or type(error).__name__
    return found if len(found) <= 300 else f"{found[:280]}... ({len(found)} characters)"
