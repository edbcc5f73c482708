"""Run: the result of training, on disk and in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import html
from ..cached import cached_property
from ..calls import absent, called
from ..files import Damaged, Name, damage, named, replacing
from ..files.npz import Npz
from ..layers.flat import split
from ..plan.plan import Plan
from ..problem import metric
from ..problem.network import Network
from ..record.recorder import History
from ..validate import Array
from .kept import Kept
from .stored import FORMAT, OtherFormat, from_file, to_arrays

if TYPE_CHECKING:
    from .beside_flow import AgainstFlow
    from .certified_run import Promise


# attributes of results elsewhere
ELSEWHERE = {
    "predict": "run.network(X)", "losses": "run.loss", "params": "run.network.params", "alignment": 'run.history["alignment"]',
    "weights": "run.network.matrices()", "matrix": "run.network.matrix()", "net": "run.network", "model": "run.network",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Run:
    """What `train` returns.

    Attributes
    ----------
    network : Network
        After the last step.
    excess : array (steps + 1,)
        The loss above `floor` before each step and after the last; accurate however small.
    floor : float
        The part of a quadratic loss that no network changes: the least-squares residual of the data (0 if not compressed).
    history : dict of History
        What was recorded.
    steps : int
        Steps taken.
    converged, interrupted : bool
        Whether the loss reached `tol`; whether Ctrl-C ended the run.
    stopped : bool
        Whether `stop` ended the run.
    lr : array (d,)
        The learning rate of each layer, in the last step.
    plan : Plan
        What was run instead of the problem as given, and why.
    seconds : float
        Time in the loop, recording included, planning not.
    certificate : Promise or None
        With `lr="certified"`, the rate, the limit and the steps that were promised, and those that were measured.
    average : Network or None
        With `average=`, the mean of the weights.
    kept : Kept or None
        What `resume` goes on from.
    """

    network: Network
    excess: Array
    floor: float
    history: dict[str, History]
    steps: int
    converged: bool
    interrupted: bool
    lr: Array
    plan: Plan
    seconds: float
    certificate: Promise | None = None
    average: Network | None = None
    kept: Kept | None = None
    stopped: bool = False

    @cached_property
    def loss(self) -> Array:
        """The loss before each step and after the last, shape (steps + 1,)."""
        return self.excess + self.floor

    def snapshots(self) -> list[list[Array]]:
        """The matrices of the layers, wherever "params" was recorded. Raises: ValueError where it was not."""
        if "params" not in self.history:
            raise ValueError(
                'the run recorded no parameters; train with record={"params": 100}, or pass run.network for the last one alone'
            )
        layers = self.network.layers
        shapes = [layer.param_shape for layer in layers]
        flats = self.history["params"].values
        return [[layer.matrix(theta) for layer, theta in zip(layers, split(flat, shapes), strict=True)] for flat in flats]

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise AttributeError(absent("Run", name, ELSEWHERE))

    def __repr__(self) -> str:
        asked = None if self.kept is None else self.kept.asked().get("steps")
        short = isinstance(asked, int) and asked > self.steps  # it diverged, or a function of the caller raised
        end = "ended early" if short else "all steps taken"
        end = "converged" if self.converged else "interrupted" if self.interrupted else "stopped" if self.stopped else end
        how = f", {self.plan.metric} metric" if metric.differ(self.network) else ""
        return f"Run({self.steps} steps, loss {self.loss[0]:.6g} -> {self.loss[-1]:.6g}, {end}{how}, {self.seconds:.3g} s)"

    def _repr_html_(self) -> str:
        rates = np.unique(self.lr)
        rows = [
            ("loss", f"{self.loss[0]:.6g} to {self.loss[-1]:.6g}", f"above the floor {self.excess[-1]:.6g}" if self.floor else ""),
            ("learning rate", f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}", ""),
            *((name, _last(kept), f"recorded {len(kept):,} times") for name, kept in self.history.items()),
        ]
        plan, network = (html.folded(name, part._repr_html_()) for name, part in (("plan", self.plan), ("network", self.network)))
        return html.page(html.text(repr(self)), html.table(rows), plan, network)

    def to_pandas(self, *names: str) -> Any:
        """The loss of every step and what was recorded, as a DataFrame by step; nan where something was not recorded.

        A quantity with several numbers has a column for each: `alignment_0`, `alignment_1`. `names`: these quantities alone.
        Raises: ImportError without pandas; KeyError for what was not recorded.
        """
        from .frame import of_run

        return of_run(self, names)

    def animate(self, path: Name, *, frames: int = 60, seconds: float = 6.0) -> Path:
        """The picture of `plot` drawn step after step, as a .gif, .webp or animated .png of so many frames.

        Raises: ImportError without matplotlib; ValueError for another extension; OSError if it cannot be written.
        """
        from .animation import animate

        return animate(self, path, frames=frames, seconds=seconds)

    def plot(self, path: Name | None = None, *, theory: bool = False) -> Any:
        """A figure of the loss and, where recorded, alignment, singular values and sharpness beside 2/lr, saved at `path` if given.

        `theory`: gradient flow from the same start in closed form, dashed over loss and singular values at time lr times the step; where no
        closed form is known, the figure says why. Raises: ImportError without matplotlib; ValueError for a run that has no flow beside it.
        """
        from .plot import plot_run

        return plot_run(self, path, theory=theory)

    def against_flow(self, X: Any = None, Y: Any = None, *, points: int = 20) -> AgainstFlow:
        """How far gradient descent is from gradient flow from the same start, at so many places, and the first order of it in lr.

        `X, Y`: the data, of a run that was read from a file. Returns: AgainstFlow. Raises: ValueError for a run that is not plain gradient
        descent with one learning rate. Cost: the run again, and its flow with Hessian products beside it. Source: docs/theory, T15.7.

        Examples
        --------
        >>> import linalign as la
        >>> net = la.Network.from_matrices([[[0.5]], [[0.5]]])
        >>> found = la.train(net, [[1.0]], [[1.0]], lr=0.01, steps=200).against_flow()
        >>> abs(float(found.distance[-1] / found.predicted[-1]) - 1) < 0.02
        True
        """
        from .beside_flow import against_flow

        return against_flow(self, X, Y, points=points)

    def save(self, path: Name, **beside: Any) -> Path:
        """Write the run to `path` (npz, no pickle); an old file stays whole until the new one is on the disk, also among threads.

        `beside`: arrays of your own, under names that the run does not use.

        Raises: OSError if it cannot be written, or is a directory or a device; ValueError, TypeError for arrays under names of the run's,
        or of objects.
        """
        arrays = to_arrays(self, beside)
        with replacing(path) as file:
            np.savez(file, **arrays)
        return Path(named(path))


def _last(kept: History) -> str:
    """What was recorded last, in a few numbers."""
    values = np.ravel(kept.values[-1]) if len(kept) else np.empty(0)
    shown = ", ".join(f"{value:.4g}" for value in values[:6])
    return shown if len(values) <= 6 else f"{shown}, ... ({len(values):,} numbers)"


@called
def load(path: Name) -> Run:
    """The run that `Run.save` wrote. Nothing is unpickled, and arrays of yours beside it are not read.

    Raises: OSError if the file cannot be read, ValueError naming it if it holds no run, or is damaged.
    """
    return read(path)[0]


def read(path: Name, *beside: str) -> tuple[Run, dict[str, Array]]:
    """The run, and those of these arrays beside it that are there. Raises: as `load`."""
    where = named(path)
    try:
        with open(path, "rb") as handle:
            zipped = handle.read(2) == b"PK"
            if not zipped:
                raise ValueError(f"{where} holds no run, it is no .npz file; Run.save writes one, linalign.data.load reads data")
            with Npz(handle) as file, damage():
                fields = from_file(file)
                return Run(**fields), {name: file.read(name) for name in beside if name in file}
    except OtherFormat as other:
        raise ValueError(f"{where} has format {other}; this version reads format {FORMAT}") from None
    except Damaged as error:
        raise ValueError(f"{where} holds no run ({error}); Run.save writes one") from None
