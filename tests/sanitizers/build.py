"""`setup.py` with other compiler flags, in the copy of the tree that run.py makes: `python build.py address -q build_ext --inplace`."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import Cython.Build
import setuptools

UNDEFINED = ["-fsanitize=undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
FLAGS = {
    "address": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address", *UNDEFINED],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
    "address-quick": ["-O0", "-fsanitize=address"],
    "thread-quick": ["-O0", "-fsanitize=thread"],
    "checked": ["-O1", "-g", *UNDEFINED],
    "checked-quick": ["-O0"],
}
# in the memory of a chain small pieces share a block: what runs over the end of one would land in the next, unseen
APART = {
    "    if size > MOST // 4:\n": "    if True:\n",
    "from libc.stdlib cimport free, malloc, realloc\n": (
        'from libc.stdlib cimport free, realloc\ncdef extern from "<stdlib.h>":\n    void* aligned_alloc(size_t, size_t) noexcept\n'
    ),
    "paged = la_paged(size), step = PAGE if paged else LINE": "paged = 0, step = LINE",
    "malloc(max(size, paged) + step)": "aligned_alloc(LINE, size)",
}


def set_apart(path: Path) -> None:
    """Every piece has a block of its own, with nothing behind it. Raises: AssertionError where the text is another one by now."""
    text = path.read_text()
    for old, new in APART.items():
        assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}; say in {__file__} how pieces are set apart"
        text = text.replace(old, new)
    stamp = path.stat()
    path.write_text(text)
    os.utime(path, (stamp.st_atime, stamp.st_mtime))


def main(name: str) -> None:
    if name.startswith("address"):
        set_apart(Path("kernels/memory.pxd"))
    if name.startswith("checked"):
        # Cython then also hints at the checks, which stops any other build
        os.environ["LINALIGN_DEBUG"] = "1"
    extension, cythonize = setuptools.Extension, Cython.Build.cythonize

    def flagged(*args: Any, **how: Any) -> Any:
        # setup.py has a sanitizer of its own where there are checks
        for part, flags in (("compile", FLAGS[name]), ("link", [flag for flag in FLAGS[name] if flag.startswith("-fsanitize")])):
            given = how[f"extra_{part}_args"]
            how[f"extra_{part}_args"] = [flag for flag in given if flag != "-O3" and "sanitize" not in flag] + flags
        return extension(*args, **how)

    def checking(*args: Any, **how: Any) -> Any:
        if name.startswith("checked"):
            how["compiler_directives"] = how["compiler_directives"] | {"cdivision": False}
        return cythonize(*args, **how)

    setuptools.Extension, Cython.Build.cythonize = flagged, checking
    runpy.run_path("setup.py")


if __name__ == "__main__":
    built = sys.argv.pop(1)
    sys.argv[0] = "setup.py"
    main(built)
