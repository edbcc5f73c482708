"""`linalign reproduce`: the paper's claims, tried, and a page with pictures, numbers and verdicts."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from .common import Stop, refusals

FOLDER = "linalign-report"
NAMES = ("kept", "output", "balanced", "rate", "projected", "convolution", "authors", "edge")

DESCRIPTION = (
    "Try the claims of arXiv 2003.06340, each by an experiment that could refute it, and write a page, report.html, with the statements, "
    "the "
    "pictures, the numbers and the verdicts. Beside it lie the measurements of each claim (.npz) and its picture (.png)."
)
EXAMPLES = f"""\
examples:
  linalign reproduce                                    minutes; writes {FOLDER}/report.html
  linalign reproduce --quick --out look                 fewer samples and steps: seconds
  linalign reproduce --data mnist/ --claim authors      MNIST instead of the digits that come with scikit-learn
  linalign reproduce --redraw {FOLDER}           verdicts, pictures and page again, from what was measured

claims: kept, where data keep alignment; output, one output; balanced, balance and alignment; rate, the learning rate;
projected, gradient descent on shared parameters; convolution, convolutional networks; authors, the four experiments of the
authors as published; edge, beyond the paper: sharpness and the edge of stability.
statements such as T3.2 are listed at the end of the page; docs/theory/ of the repository proves them.
data: images with classes, as "linalign train" reads them; digits are scaled to 28 x 28 where the paper has MNIST.

exit status: 0 all claims confirmed, 1 one was not, 2 wrong options or a bad file, 130 stopped by Ctrl-C
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = command.add_argument
    add("--quick", action="store_true", help="fewer samples and steps [no]")
    add("--data", metavar="DATA", default="digits", help='"digits", or a file of images with classes, such as MNIST\'s [digits]')
    add("--target", metavar="T", help="where the classes are, as for linalign train [found by itself]")
    add("--claim", action="append", metavar="NAME", help=f"only this claim, may be repeated; one of {', '.join(NAMES)} [all]")
    add("--out", metavar="DIR", help=f"directory of the page and its files [{FOLDER}]")
    add("--redraw", metavar="DIR", help="measure nothing: make the page again from the files in DIR")


def run(options: argparse.Namespace) -> int:
    """`linalign reproduce`."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Stop("the report needs matplotlib, which is not installed; pip install 'linalign[plot]'", 2)
    if options.redraw and (options.out or options.quick):
        raise Stop("--redraw measures nothing and writes where the measurements are; leave --out and --quick out", 2)
    from ..reproduce import Setting, redraw, reproduce

    out = Path(options.redraw or options.out or FOLDER).expanduser()

    def say(line: object) -> None:
        print(line)
        sys.stdout.flush()

    with refusals():
        if options.redraw:
            verdicts = redraw(out, options.claim, say)
        else:
            verdicts = reproduce(out, Setting(options.quick, options.data, options.target), options.claim, say)
    say(f"{sum(v.confirmed for v in verdicts)} of {len(verdicts)} claims confirmed; written: {out / 'report.html'}")
    return 0 if all(v.confirmed for v in verdicts) else 1
