"""The story: all claims, run one after the other, saved, judged from what was saved, drawn and written up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..files import replacing
from . import authors, balanced, convolution, edge, kept, output, page, projected, rate
from .claim import Claim, Verdict, load
from .setting import Setting

CLAIMS: tuple[Claim, ...] = (
    kept.CLAIM,
    output.CLAIM,
    balanced.CLAIM,
    rate.CLAIM,
    projected.CLAIM,
    convolution.CLAIM,
    authors.CLAIM,
    edge.CLAIM,
)


def reproduce(out: Path, setting: Setting, only: Iterable[str] | None = None, say: Callable[[object], None] | None = None) -> list[Verdict]:
    """Run the claims, write `NAME.npz`, `NAME.png` and `report.html` in `out`.

    Raises: ValueError, OSError for data that cannot be used or files that cannot be written.
    """
    claims, verdicts = chosen(only), []
    setting.images  # noqa: B018  data that cannot be used are refused before anything is written
    out.mkdir(parents=True, exist_ok=True)
    for claim in claims:
        began = time.perf_counter()
        arrays = claim.measure(setting)
        about = {"seconds": time.perf_counter() - began, "quick": setting.quick, "data": setting.images.name}
        with replacing(out / f"{claim.name}.npz") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        verdicts.append(written(claim, out, say))
    page.write(out, verdicts, load(out / f"{verdicts[0].claim.name}.npz")[1])
    return verdicts


def redraw(out: Path, only: Iterable[str] | None = None, say: Callable[[object], None] | None = None) -> list[Verdict]:
    """Verdicts, pictures and page again, from what an earlier run saved in `out`.

    Raises: FileNotFoundError if nothing was saved there, ValueError for files that hold something else.
    """
    there = [claim for claim in chosen(only) if (out / f"{claim.name}.npz").is_file()]
    if not there:
        names = ", ".join(f"{claim.name}.npz" for claim in chosen(only))
        raise FileNotFoundError(f"{out}: no saved claims here ({names}); run without --redraw first")
    verdicts = [written(claim, out, say) for claim in there]
    page.write(out, verdicts, load(out / f"{verdicts[0].claim.name}.npz")[1])
    return verdicts


def chosen(only: Iterable[str] | None) -> list[Claim]:
    """The claims of these names, all by default. Raises: ValueError for unknown names."""
    names = list(only or ())
    known = [claim.name for claim in CLAIMS]
    for name in names:
        if name not in known:
            raise ValueError(f"claim is {name!r}; one of {', '.join(known)} was wanted")
    return [claim for claim in CLAIMS if not names or claim.name in names]


def written(claim: Claim, out: Path, say: Callable[[object], None] | None) -> Verdict:
    """The verdict and the picture of a claim, from its file."""
    arrays, about = load(out / f"{claim.name}.npz")
    try:
        verdict = Verdict(claim, tuple(claim.judge(arrays)), float(about["seconds"]), tuple(claim.compare(arrays)))
        page.picture(claim, arrays, out / f"{claim.name}.png")
    except KeyError as error:
        raise ValueError(f"{out / claim.name}.npz: has no {error}; it was written by another version, run the claim again") from None
    if say is not None:
        say(verdict)
    return verdict
