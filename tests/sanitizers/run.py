"""Builds for finding faults, and tests run on them: `python -m tests.sanitizers.run address|thread|checked [of pytest]`.

    address   AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer; every piece of a chain's memory has red zones of its own
    checked   Cython's checks of bounds, of signs of indices, of division, of what is None; UndefinedBehaviorSanitizer
    thread    ThreadSanitizer, on a team of threads that it understands (team.c)

With `-quick` behind the name, a build of a minute or less, not optimised, without UndefinedBehaviorSanitizer.
Everything is built in a copy of the tree, `build/<name>`, by build.py: the package that is in use is not touched. Each tool first has to
report faults that were made for it (faulty.c). Ends with 1 if a test fails or anything is reported. Needs gcc with its sanitizers (they are
part of it); where there is none, it says so and ends with 77.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SKIPPED = 77
RUNTIMES = {"address": "libasan.so", "thread": "libtsan.so", "checked": None}
BUILDS = ("address", "address-quick", "thread", "thread-quick", "checked", "checked-quick")
FLAGS = {"address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"], "thread": ["-fsanitize=thread"]}
# a fault of faulty.c, with its argument, and what is said of it
FAULTS = {
    "address": {"beyond_the_end(64)": "heap-buffer-overflow", "overflow(1)": "signed integer overflow", "leak(77)": "77 byte"},
    "thread": {"race(1000)": "data race"},
}


def runtime(name: str) -> str:
    """Where gcc has a library; "" where it has none."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=False).stdout.strip()
    return found if os.path.isabs(found) else ""


def build(name: str) -> Path:
    """The package in a tree of its own, built as that."""
    tree = ROOT / "build" / name
    for part in ("kernels", "src"):
        shutil.copytree(ROOT / part, tree / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    if name.startswith("thread") and (ROOT / "build" / "cython").exists():
        # the C of the build that is in use, which takes as long to write as to compile; the others have another one
        shutil.copytree(ROOT / "build" / "cython", tree / "build" / "cython", dirs_exist_ok=True)
    for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / part, tree / part)
    command = [sys.executable, str(HERE / "build.py"), name, "-q", "build_ext", "--inplace", "-j2"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-4000:])
    return tree


def team(base: Path) -> Path:
    """team.c, compiled for ThreadSanitizer."""
    found = base / "libteam.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-g", "-fsanitize=thread", HERE / "team.c", "-o", found, "-pthread"], check=True)
    return found


def environment(name: str, base: Path, logs: Path) -> dict[str, str]:
    """What a process needs to find that package, with the sanitizer loaded before all else."""
    loaded = [runtime(RUNTIMES[name])] if RUNTIMES[name] else []
    if name == "address":
        # what throws C++ exceptions is looked up by the sanitizer when it begins
        loaded += [runtime("libstdc++.so")]
    if name == "thread":
        loaded += [str(team(base))]
    env = os.environ | {
        "LD_PRELOAD": " ".join(filter(None, loaded)),
        "PYTHONPATH": os.pathsep.join([str(base / "src"), str(ROOT)]),
        "OPENBLAS_NUM_THREADS": "1",
        "LINALIGN_SANITIZER": name,
        # its leaks are looked for in what it wrote; a process that leaked has not failed for that
        "ASAN_OPTIONS": f"detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=0:log_path={logs}/log",
        "LSAN_OPTIONS": "exitcode=0:report_objects=0:max_leaks=0:use_unaligned=1",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={logs}/log",
        "TSAN_OPTIONS": f"exitcode=0:halt_on_error=0:history_size=4:log_path={logs}/log",
    }
    if name == "address":
        # objects of Python in blocks of their own
        env["PYTHONMALLOC"] = "malloc"
    return env


def ours(report: str) -> bool:
    """Whether a leak was allocated by a kernel itself: the first frame that is not the allocator's is in one.

    CPython and NumPy keep much until the process ends, and are not asked; what a module makes once, when it is loaded, is kept as well.
    """
    frames = [line for line in report.splitlines() if line.lstrip().startswith("#")]
    called = [line for line in frames if not re.search(r"lib[at]san|interceptor|_PyObject_|_PyMem_|PyObject_Malloc|PyMem_", line)]
    return bool(called) and "linalign/_kernels" in called[0] and not any("pyx_pymod_exec" in line or "PyInit_" in line for line in frames)


def reports(logs: Path) -> list[str]:
    """Everything that was reported, less the leaks of others."""
    found = []
    for path in sorted(logs.glob("log.*")):
        text = path.read_text(errors="replace")
        leaks = re.split(r"(?=^(?:Direct|Indirect) leak of )", text, flags=re.M)
        if leaks[0].strip() and "LeakSanitizer: detected memory leaks" not in leaks[0]:
            found.append(leaks[0])
        found += [leak for leak in leaks[1:] if ours(leak)]
    return found


def sees(name: str, env: dict[str, str], base: Path, logs: Path) -> None:
    """Raises: SystemExit if the tool does not report a fault that was made for it, or reports what is none."""
    if name not in FAULTS:
        return
    library = base / "libfaulty.so"
    source = [*FLAGS[name], "-shared", "-fPIC", "-g", "-O0", "-fopenmp", str(HERE / "faulty.c"), "-o", str(library)]
    subprocess.run(["gcc", *source], check=True)
    for call, said in [*FAULTS[name].items(), ("no_race(1000)", None)]:
        code = f"import ctypes; ctypes.CDLL({str(library)!r}).{call}"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        text = done.stderr + "".join(path.read_text(errors="replace") for path in logs.glob("log.*"))
        for path in logs.glob("log.*"):
            path.unlink()
        if said is not None and said not in text:
            raise SystemExit(f"{name}: {call} was made to be reported as {said!r}, but what came was:\n{text[-3000:]}")
        if said is None and name == "thread" and "WARNING" in text:
            raise SystemExit(f"{name}: {call} is right, but what came was:\n{text[-3000:]}")


def main(arguments: Sequence[str]) -> int:
    made, *tests = arguments or ("",)
    if made not in BUILDS:
        raise SystemExit(f"{made!r} is no build for finding faults; one of {', '.join(BUILDS)} was wanted")
    name = made.removesuffix("-quick")
    wanted = RUNTIMES[name]
    if shutil.which("gcc") is None or (wanted is not None and not runtime(wanted)):
        print(f"{name}: skipped, as there is no gcc here that has {wanted or 'UndefinedBehaviorSanitizer'}")
        return SKIPPED
    base = build(made)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        env = environment(name, base, logs)
        sees(name, env, base, logs)
        command = [sys.executable, "-m", "pytest", "-q", *tests]
        if name == "thread" and shutil.which("setarch"):
            # addresses that are drawn may fall where ThreadSanitizer keeps its own
            command = ["setarch", "-R", *command]
        failed = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        found = reports(logs)
    for report in found[:20]:
        print(report[:6000])
    print(f"{name}: {len(found)} reports")
    return 1 if failed or found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
