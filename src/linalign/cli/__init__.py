"""The command line: `linalign train digits`, `linalign flow digits`, `linalign check digits`, `linalign reproduce`, `linalign config`.

Every refusal is one line on stderr. Exit status: 0 done, 1 failed, 2 wrong options or a bad file, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import linalign as la

from . import check as cli_check
from . import flow as cli_flow
from . import reproduce as cli_reproduce
from . import train as cli_train
from .common import Stop


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise Stop(f"{message}; see {self.prog} --help", 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, `sys.argv[1:]` by default; returns the exit status."""
    try:
        options = parser().parse_args(argv)
        status: int = options.command(options)
        sys.stdout.flush()
        return status
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except Stop as stop:
        print(f"linalign: {stop}", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("linalign: stopped before training began; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output has gone; keep the interpreter from failing on it once more at exit
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 1


def parser() -> argparse.ArgumentParser:
    """The options of every command."""
    top = Parser(prog="linalign", description="Deep linear networks, trained in C, with their alignment tracked.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"linalign {la.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    pages: list[tuple[str, Any, str, str]] = [
        ("train", cli_train, "linalign train DATA [options]", "train a deep linear network on a data set and draw what happened"),
        ("flow", cli_flow, "linalign flow DATA [options]", "gradient flow, the limit of small learning rates, with error control"),
        ("check", cli_check, "linalign check DATA [options]", "what is proved about a data set and a network before training"),
        ("reproduce", cli_reproduce, "linalign reproduce [options]", "try the claims of the paper and write a page with the verdicts"),
    ]
    for name, module, usage, summary in pages:
        command = commands.add_parser(
            name,
            help=summary,
            usage=usage,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(command)
        command.set_defaults(command=module.run)
    config = commands.add_parser("config", help="print versions, instruction set, BLAS and build flags")
    config.set_defaults(command=show_config)
    return top


def show_config(options: argparse.Namespace) -> int:
    """`linalign config`."""
    la.show_config()
    return 0
