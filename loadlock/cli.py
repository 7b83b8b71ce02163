"""The root of the command line: finds the command, runs it, and turns every error into words and an exit status.

Exit status: 0 done or verified; 1 refused; 2 wrong usage or configuration; 3 something needed could not be reached;
4 the plugin itself failed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from loadlock.live import listening
from verifier.command import Command, Output, StandardOutput, unwritten
from verifier.deployment.place import ENVIRONMENT
from verifier.errors import LoadlockError, Unreachable, UsageError

PACKAGES = {
    "verifier": "For hosts",
    "attestor": "For a plugin's owner and its certifier",
    "crl_server": "For the operator and security staff",
    "loadlock": "To look at",
}
"""The packages that contribute commands, in the order of the table of contents; a host needs only the first."""
MODULES = {
    "verifier": "verifier.cli",
    "attestor": "attestor.cli",
    "crl_server": "crl_server.cli",
    "loadlock": "loadlock.demo",
}
"""Where the commands of each lie, as ``COMMANDS``. Written down, so that no other distribution can offer itself for
one, and what is installed need not be looked through before each command.
"""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the signal's number."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like all others, so that ``--json`` covers them too."""

    def error(self, message: str) -> NoReturn:
        from loadlock.complaints import usage_error

        raise usage_error(message, self)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process when None.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = StandardOutput(as_json="--json" in arguments)
    debug = "--debug" in arguments
    _prepare_streams(output)
    status = 0
    try:
        status = _attempt(arguments, output, debug=debug)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        status = 1
    except (OSError, Unreachable) as error:  # a disk that is full
        if status == 0:  # else it was said
            sys.stderr.write(f"{unwritten(error) if isinstance(error, OSError) else error}\n")
        status = Unreachable.exit_status
    # The interpreter flushes once more at its end, and must not complain of it then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _attempt(arguments: list[str], output: Output, *, debug: bool) -> int:
    """Run one command and say what went wrong; only that nobody reads the output is left to the caller."""
    try:
        return invoke(arguments, output)
    except LoadlockError as error:
        return _report(error, output, debug=debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as done:  # argparse has printed a command's help
        return int(done.code or 0)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():  # a command may have pipes of its own
            raise
        return _report(_unexpected(error), output, debug=debug)


def invoke(arguments: list[str], output: Output) -> int:
    """Run one command, and let its errors through.

    Args:
        arguments: as on the command line, after the program's name.
        output: where results go.

    Returns:
        The exit status of a command that has already said what went wrong, else 0.

    Raises:
        LoadlockError: what the command raised.
    """
    leading = _leading_options(arguments)
    words = arguments[len(leading) :]
    if "--version" in leading:
        from importlib.metadata import version

        output.say(f"loadlock {version('loadlock')}")
        output.result({"version": version("loadlock")})
        return 0
    command = _find(words)
    if command is not None:
        rest = words[len(command.name.split()) :]
        args = _parser_of(command).parse_args([*leading, *rest])
        if isinstance(output, StandardOutput):
            output.json = args.json  # a program that is run may have an option of that name
        with listening(output, args.events), output.progress.step(command.name, whole=True):
            return command.run(args, output) or 0
    if not {"--help", "-h"} & set(leading):
        _check_nothing_asked(leading, words)
    output.say(_contents())
    output.result({"commands": {command.name: command.help for _, commands in _packages() for command in commands}})
    return 0


def _check_nothing_asked(leading: list[str], words: list[str]) -> None:
    """Where no command was found, none may have been meant."""
    if words:
        packages = dict(_packages())
        known = [command.name for commands in packages.values() for command in commands]
        missing = ", ".join(package for package, commands in packages.items() if not commands)
        raise UsageError(
            "usage.arguments",
            f"no such command: {words[0]!a}",
            found=f"without the extras for {missing}" if missing else "",
            expected=", ".join(name for name in known if name.split()[0] == words[0]),
            todo="See 'loadlock --help'.",
        )
    if not {"--json", "--debug"}.issuperset(leading):
        raise UsageError("usage.arguments", "there is no command", found=ascii(leading), todo="See 'loadlock --help'.")


def _leading_options(arguments: list[str]) -> list[str]:
    """The options before the command; those with a value take the word after them along."""
    taken: list[str] = []
    for word in arguments:
        if not word.startswith("-") and taken[-1:] not in (["--deployment"], ["--events"]):
            break
        taken.append(word)
    return taken


def _parser_of(command: Command) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"loadlock {command.name}", description=command.help, allow_abbrev=False)
    parser.add_argument(
        "--deployment", metavar="DIR", help=f"the deployment's directory (else ${ENVIRONMENT}, else .loadlock/)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    parser.add_argument("--events", metavar="FILE|-", help="tell of each step, a JSON object a line ('-': stderr)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.configure(parser)
    return parser


def _find(arguments: list[str]) -> Command | None:
    """The command that the first one or two words name; packages are imported one by one until it is found."""
    for _, commands in _packages():
        for length in (2, 1):
            name = " ".join(arguments[:length])
            for command in commands:
                if command.name == name:
                    return command
    return None


def _packages() -> Iterator[tuple[str, tuple[Command, ...]]]:
    for package, module in MODULES.items():
        yield package, _commands(module)


def _commands(module: str) -> tuple[Command, ...]:
    try:
        commands: tuple[Command, ...] = importlib.import_module(module).COMMANDS
    except ImportError as error:
        # An optional part is not installed: its commands do not exist here, and the others do.
        if error.name and error.name.partition(".")[0] in PACKAGES:
            raise
        return ()
    return commands


def _contents() -> str:
    lines = [
        "usage: loadlock COMMAND [options]",
        "",
        "Attest plugins, revoke them from one place, load only what checks out.",
    ]
    packages = tuple(_packages())
    width = max(len(command.name) for _, commands in packages for command in commands)
    for package, commands in packages:
        lines += ["", f"{PACKAGES[package]}:"]
        lines += [f"  {command.name:<{width}}  {command.help}" for command in commands]
    lines += [
        "",
        "Every command has --help, --json, --events FILE, --debug and --deployment DIR.",
        (__doc__ or "").partition("\n\n")[2].strip(),
    ]
    return "\n".join(lines)


def _unexpected(error: Exception) -> LoadlockError:
    from verifier.formats.strict_json import quoted

    unexpected = LoadlockError(
        "internal.unexpected",
        "something unexpected happened, and nothing was allowed",
        found=quoted(f"{type(error).__name__}: {error}"),
        todo="Run the command again with --debug and report what it prints.",
    )
    unexpected.__cause__ = error
    return unexpected


def _report(error: LoadlockError, output: Output, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    if output.json:
        output.result({"ok": False, "error": error.document()})
    else:
        sys.stderr.write(f"{error}\n")
    return error.exit_status


def _prepare_streams(output: Output) -> None:
    """A file name need not be text, and a terminal need not know UTF-8: what cannot be written is escaped. JSON is
    UTF-8 everywhere (RFC 8259, section 8.1), and has the same escapes for what is no text.

    A stream that was closed is opened on nothing: else the next file would get its number, and what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as it runs
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            as_json = output.json and stream is sys.stdout
            stream.reconfigure(encoding="utf-8" if as_json else stream.encoding, errors="backslashreplace")


def _nobody_reads() -> bool:
    """Whether the other end of standard output is closed."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # not a stream of the system's: a program captures the output
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


if __name__ == "__main__":
    sys.exit(main())
