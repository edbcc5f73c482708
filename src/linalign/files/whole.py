"""Files that are written whole or not at all, and the paths to them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

Name = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def named(path: Name) -> str:
    """The path as text, however it was given; os.fsencode of it is the path again. Raises: TypeError for what is no path."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path is {type(path).__name__}; the name of a file was wanted, such as 'run.npz'") from None


def check_regular(path: Name) -> os.stat_result | None:
    """What the system says of the file that `path` leads to, or None if there is none yet.

    Raises: OSError if it is a directory, or a device, pipe or socket: those cannot be replaced, and reading them may not end.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), named(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file; pass the path of one", named(path))
    return found


@contextlib.contextmanager
def replacing(path: Name) -> Iterator[IO[bytes]]:
    """A new file, which takes the place of `path` once it is written and on the disk; until then an old one stays as it is.

    A symbolic link stays, and what it points to is replaced. Permissions are those of the old file, or of any new one. Any number of
    threads and processes may write to one path: the last to finish has it. Raises: OSError if it cannot be written.
    """
    old = check_regular(path)
    target = Path(os.path.realpath(named(path)))
    # a name that has nothing of the target's fits where the target's does; "x" takes the umask into account, as mkstemp does not
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 - closed below, before it is renamed
    except OSError as error:
        raise OSError(error.errno, error.strerror, named(path)) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            os.chmod(temporary, stat.S_IMODE(old.st_mode) & 0o777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
