"""Run: the result of training, on disk and in memory."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import html
from .. import layers as _layers
from ..cached import cached_property
from ..files import replacing
from ..layers.flat import split
from ..plan.plan import Plan
from ..problem import metric
from ..problem.network import Network
from ..record.recorder import History
from ..validate import Array
from .kept import Kept, from_description

if TYPE_CHECKING:
    from .certified_run import Promise

FORMAT = 1


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

    def __repr__(self) -> str:
        end = "converged" if self.converged else "interrupted" if self.interrupted else "stopped" if self.stopped else "all steps taken"
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
        from .frame import to_pandas

        return to_pandas(self, names)

    def animate(self, path: str | os.PathLike[str], *, frames: int = 60, seconds: float = 6.0) -> Path:
        """The picture of `plot` drawn step after step, as a .gif, .webp or animated .png of so many frames.

        Raises: ImportError without matplotlib; ValueError for another extension; OSError if it cannot be written.
        """
        from .animation import animate

        return animate(self, path, frames=frames, seconds=seconds)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A figure of the loss, alignment and singular values, saved at `path` if given. Raises: ImportError without matplotlib."""
        from .plot import plot_run

        return plot_run(self, path)

    def save(self, path: str | os.PathLike[str], **beside: Any) -> Path:
        """Write the run to `path` (npz, no pickle); an old file stays whole until the new one is on the disk, also among threads.

        `beside`: arrays of your own, under names that the run does not use.

        Raises: OSError if it cannot be written, or is a directory or a device.
        """
        layers = [_layers.describe(layer) for layer in self.network.layers]
        # what a layer holds as arrays stands beside the description, under the layer's number
        held = {f"layer_{i}_{key}": array for i, layer in enumerate(layers) for key, array in _take_arrays(layer)}
        described = {
            "format": FORMAT,
            "layers": layers,
            "plan": self.plan.to_dict(),
            "history": list(self.history),
            "floor": self.floor,
            "steps": self.steps,
            "converged": self.converged,
            "interrupted": self.interrupted,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
        }
        arrays: dict[str, Any] = {"run": np.array(json.dumps(described)), "excess": self.excess, "lr": self.lr, **held}
        arrays |= {f"param_{i}": theta for i, theta in enumerate(self.network.params)}
        if self.average is not None:
            arrays |= {f"average_{i}": theta for i, theta in enumerate(self.average.params)}
        for name, kept in self.history.items():
            arrays |= {f"steps_{name}": kept.steps, f"values_{name}": kept.values}
        if self.kept is not None:
            arrays["kept"] = np.array(self.kept.describe(arrays))
        with replacing(path) as file:
            np.savez(file, **arrays, **beside)
        return Path(path)


def _last(kept: History) -> str:
    """What was recorded last, in a few numbers."""
    values = np.ravel(kept.values[-1]) if len(kept) else np.empty(0)
    shown = ", ".join(f"{value:.4g}" for value in values[:6])
    return shown if len(values) <= 6 else f"{shown}, ... ({len(values):,} numbers)"


def load(path: str | os.PathLike[str]) -> Run:
    """The run that `Run.save` wrote.

    Raises: OSError if the file cannot be read, ValueError if it holds no run.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str]) -> tuple[Run, dict[str, Array]]:
    """The run, and all arrays of its file. Raises: as `load`."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        described = json.loads(str(arrays["run"]))
        version = described["format"]
        if version == FORMAT:
            return _from_arrays(described, arrays), arrays
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        with open(path, "rb") as handle:
            zipped = handle.read(2) == b"PK"
        if not zipped:
            raise ValueError(
                f"{os.fspath(path)} holds no run, it is no .npz file; Run.save writes one, linalign.data.load reads data"
            ) from None
        raise ValueError(f"{os.fspath(path)} holds no run ({error}); Run.save writes one") from None
    raise ValueError(f"{os.fspath(path)} has format {version}; this version reads format {FORMAT}")


def _take_arrays(layer: dict[str, Any]) -> list[tuple[str, Array]]:
    """The arrays of a description, taken out of it; those of a layer in it come after its name and a point."""
    found = []
    for key, value in list(layer.items()):
        if isinstance(value, dict):
            found += [(f"{key}.{inner}", array) for inner, array in _take_arrays(value)]
        elif isinstance(value, np.ndarray):
            found.append((key, layer.pop(key)))
    return found


def _put_array(layer: dict[str, Any], key: str, array: Array) -> None:
    outer, point, inner = key.partition(".")
    if point:
        _put_array(layer[outer], inner, array)
    else:
        layer[key] = array


def _from_arrays(described: dict[str, Any], arrays: dict[str, Array]) -> Run:
    for i, layer in enumerate(described["layers"]):
        prefix = f"layer_{i}_"
        for name, array in arrays.items():
            if name.startswith(prefix):
                _put_array(layer, name.removeprefix(prefix), array)
    network = Network(
        [_layers.from_description(layer) for layer in described["layers"]],
        [arrays[f"param_{i}"] for i in range(len(described["layers"]))],
    )
    history = {name: History(arrays[f"steps_{name}"], arrays[f"values_{name}"]) for name in described["history"]}
    return Run(
        network=network, excess=arrays["excess"], floor=described["floor"], history=history, steps=described["steps"],
        converged=described["converged"], interrupted=described["interrupted"], stopped=described.get("stopped", False), lr=arrays["lr"],
        plan=Plan.from_dict(described["plan"]), seconds=described["seconds"],
        average=network.with_params([arrays[f"average_{i}"] for i in range(network.depth)]) if "average_0" in arrays else None,
        kept=from_description(str(arrays["kept"]), arrays) if "kept" in arrays else None,
        certificate=_promise(described.get("certificate")),
    )  # fmt: skip


def _promise(described: dict[str, Any] | None) -> Promise | None:
    if described is None:
        return None
    from .certified_run import Promise

    return Promise.from_dict(described)
