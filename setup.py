"""The extensions; everything else is in pyproject.toml."""

import contextlib
import io
import os
import platform
import sys
from glob import glob

from Cython import __version__ as cython_version
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NAMES = ["_chain", "_machine", "_product", "_stack", "_projection", "_limits", "_modes", "_curvature", "_flow", "_lanes"]
DEBUG = os.environ.get("LINALIGN_DEBUG") == "1"
NATIVE = os.environ.get("LINALIGN_NATIVE") == "1"
# without OpenMP the threads over the samples of a convolution take turns; a build for macOS says by this that it has brought libomp
OPENMP = sys.platform.startswith("linux") or os.environ.get("LINALIGN_OPENMP") == "1"

# where Cython writes; with checks it writes other code
CYTHON = "build/cython-debug" if DEBUG else "build/cython"

DIRECTIVES = {
    "language_level": "3",
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "warn.undeclared": False,
    "show_performance_hints": True,
}


def flags() -> list[str]:
    """Compiler flags: no -march=native unless asked for, never -ffast-math."""
    if sys.platform == "win32":
        return ["/O2"]
    # ISO C would forbid to contract a * b + c into one instruction, which halves the tile
    common = ["-std=gnu11", "-ffp-contract=fast", "-Wno-unused-function", "-Wno-psabi", "-fno-math-errno"]
    if DEBUG:
        return [*common, "-O1", "-g", "-fsanitize=undefined", "-fno-sanitize-recover=undefined"]
    # what Python was built with asks for debug symbols: four fifths of the size, and a third of the time
    common += ["-g0"]
    # Apple's clang has it behind its preprocessor only
    common += (["-Xpreprocessor"] if sys.platform == "darwin" else []) + ["-fopenmp"] if OPENMP else ["-Wno-unknown-pragmas"]
    native = ["-march=native"] if NATIVE and platform.machine() in ("x86_64", "aarch64") else []
    return [*common, "-O3", *native]


LINK_OPENMP = [] if not OPENMP else ["-lomp"] if sys.platform == "darwin" else ["-fopenmp"]

extensions = [
    Extension(
        f"linalign._kernels.{name}",
        [f"kernels/{name}.pyx"],
        include_dirs=["kernels/include"],
        depends=["setup.py", *glob("kernels/*.pxd"), *glob("kernels/include/*.h")],
        extra_compile_args=flags(),
        extra_link_args=(["-fsanitize=undefined"] if DEBUG else []) + LINK_OPENMP,
        define_macros=[("LA_DEBUG", str(int(DEBUG))), ("LA_NATIVE", str(int(NATIVE)))],
    )
    for name in NAMES
]


def translated(extension: Extension) -> str:
    """The C source of an extension."""
    return f"{CYTHON}/{os.path.splitext(extension.sources[0])[0]}.c"


def current() -> bool:
    """Whether the C sources are there, made by this Cython and later than the kernels.

    Cython itself asks SciPy's declarations too, which in the environment that pip makes for each build are always later: the second of two
    installations would compile everything anew.
    """
    newest = max(os.path.getmtime(path) for path in [__file__, *glob("kernels/*.p*")])
    for path in map(translated, extensions):
        if not os.path.exists(path) or os.path.getmtime(path) < newest:
            return False
        with open(path, encoding="utf-8") as file:
            if f"Cython {cython_version} " not in file.readline():
                return False
    return not DEBUG


def compiled() -> list[Extension]:
    """The C sources. A performance hint fails the build: it means a function that takes the GIL at every call."""
    if current():
        for extension in extensions:
            extension.sources = [translated(extension)]
        return extensions
    log = io.StringIO()
    try:
        with contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
            modules = cythonize(extensions, include_path=["kernels"], compiler_directives=DIRECTIVES, build_dir=CYTHON, force=DEBUG)
    finally:
        print(log.getvalue(), end="", file=sys.stderr)
    # with checks on, Cython also hints at the checks
    if "performance hint" in log.getvalue() and not DEBUG:
        raise SystemExit("build stopped: Cython printed a performance hint (above); declare the function noexcept nogil")
    return list(modules)


class KeptBuild(build_ext):
    """What an editable installation has compiled is kept, so that the next one, with other extras, compiles what has changed alone."""

    # whose options it takes
    command_name = "build_ext"

    def run(self) -> None:
        if self.editable_mode:
            self.build_lib = f"build/editable{'-debug' * DEBUG}{'-native' * NATIVE}{'-openmp' * OPENMP}"
        super().run()


setup(ext_modules=compiled(), cmdclass={"build_ext": KeptBuild}, options={"build_ext": {"parallel": os.cpu_count()}})
