"""The options with which a command tells CI systems what it found, and the place where that is done once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from verifier.command import Output
from verifier.errors import LoadlockError

if TYPE_CHECKING:
    from attestor.checking.remarks import Remark

Told = Callable[[argparse.Namespace, Output, "list[Remark]"], int | None]
"""A command that adds to a list of remarks what is to be told."""


def add_remarks(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    told = parser.add_argument_group("for CI systems, written whatever comes of it")
    told.add_argument("--sarif", metavar="FILE", help="what was found, as SARIF 2.1.0")
    told.add_argument("--code-quality", metavar="FILE", help="the same as GitLab's code quality report")
    told.add_argument(
        "--annotations", choices=("plain", "github", "azure"), help="the same as lines of the log, on standard error"
    )


def telling(command: Told) -> Callable[[argparse.Namespace, Output], int | None]:
    """The command as it is registered: whatever it found, or was refused for, is told as the options say.

    Interrupted, it leaves nothing running, and tells that it did not come to its end.
    """

    def run(args: argparse.Namespace, output: Output) -> int | None:
        from attestor.building.processes import interruptible

        with interruptible(), _telling(args) as remarks:
            return command(args, output, remarks)

    return run


@contextmanager
def _telling(args: argparse.Namespace) -> Iterator[list[Remark]]:
    remarks: list[Remark] = []
    try:
        yield remarks
    except LoadlockError as error:
        from attestor.checking.remarks import remark_of

        remarks.append(remark_of(error))
        raise
    except BaseException as error:  # to say nothing would read as: nothing was found
        from attestor.checking.remarks import Remark

        remarks.append(Remark("loadlock.unfinished", f"the command did not come to its end: {type(error).__name__}"))
        raise
    finally:
        _tell(args, remarks)


def _tell(args: argparse.Namespace, remarks: list[Remark]) -> None:
    from attestor.checking.remarks import code_quality, log_lines, sarif
    from verifier.files import write_atomic

    for name, written in ((args.sarif, sarif), (args.code_quality, code_quality)):
        if name is not None:
            write_atomic(Path(name), written(remarks))
    if args.annotations is not None:
        sys.stderr.writelines(f"{line}\n" for line in log_lines(remarks, args.annotations))
        sys.stderr.flush()
