"""What would be uploaded, from the kernels that are built already, in some seconds: `python -m tests.packages`. `make wheel` builds them anew.

The source distribution has to hold what git tracks and nothing else; the wheel the package and nothing else, in few bytes; and from the wheel,
in an environment without the tree, a network has to train. Needs setuptools and Cython in this environment, and git.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZE = 5_000_000  # of the wheel, in bytes
# of the repository, not of its source
LEFT_OUT = {".ci/run", ".gitignore"}
TRIED = """
import numpy as np, linalign as la
assert "site-packages" in la.__file__, la.__file__
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
run = la.train(la.Network.dense([5, 4, 3]).init("gaussian", rng=0), X, Y, lr=1e-2, steps=50, record={"alignment": 10})
assert run.loss[-1] < run.loss[0]
print("linalign", la.__version__, "trained from the wheel:", run)
"""


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return str(done.stdout)


def tracked() -> set[str]:
    return {name for name in run("git", "ls-files").splitlines() if (ROOT / name).exists()}


def source(into: Path) -> None:
    """The source distribution against what git tracks."""
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", into)
    (path,) = into.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    missing, more = tracked() - LEFT_OUT - held, held - made - tracked()
    if missing or more:
        raise SystemExit(f"{path.name} lacks {sorted(missing)} and should not hold {sorted(more)}: see MANIFEST.in")
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {len(held)} files")


def wheel(into: Path) -> Path:
    """The wheel from the kernels that are built, against the files of the package."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    base = into / "lib"
    run(sys.executable, "setup.py", "-q", "build_py", "--build-lib", base)
    for kernel in (ROOT / "src" / "linalign" / "_kernels").glob("*" + suffix):
        shutil.copy2(kernel, base / "linalign" / "_kernels")
    run(sys.executable, "setup.py", "-q", "build", "--build-lib", base, "bdist_wheel", "--skip-build", "--dist-dir", into)
    (path,) = into.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licensed = any(name.endswith("LICENSE") for name in archive.namelist())
    kernels = {f"linalign/_kernels/{source.stem}{suffix}" for source in (ROOT / "kernels").glob("*.pyx")}
    wanted = kernels | {name.removeprefix("src/") for name in tracked() if name.startswith("src/")}
    if held != wanted or not licensed:
        raise SystemExit(f"{path.name} lacks {sorted(wanted - held)} and should not hold {sorted(held - wanted)}; licence {licensed}")
    if path.stat().st_size > SIZE:
        raise SystemExit(f"{path.name} has {path.stat().st_size:,} bytes; at most {SIZE:,} were wanted")
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {len(held)} files")
    return path


def tried(path: Path, into: Path) -> None:
    """The wheel in an environment of its own, without a compiler; NumPy and what else it needs are those of this environment."""
    run(sys.executable, "-m", "venv", into)
    python = into / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", path, env={**os.environ, "CC": "/bin/false"})
    needed = sysconfig.get_paths()["platlib"]
    (site,) = (into / "lib").glob("python*/site-packages")
    # behind the environment's own folder: the tree's own entry there is one for an editable install, which a path alone does not follow
    (site / "needed.pth").write_text(f"import sys; sys.path.append({needed!r})\n")
    print(run(python, "-c", TRIED).strip())
    print(run(into / "bin" / "linalign", "--version").strip())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        source(folder)
        tried(wheel(folder), folder / "venv")
