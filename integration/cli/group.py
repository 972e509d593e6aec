"""How every command ends: one line for an error, an honest exit code, no traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from requant.adapters.hosts import masked
from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    IndexWarning,
    InputError,
    RequantError,
)
from requant.integration.cli.output import (
    answering,
    has_answered,
    one_line,
    print_json,
    warn,
)

# 0 done; 1 the answer is bad; 2 usage or bad input; 130 stopped by Ctrl-C or by a closed pipe.
BAD_ANSWER = 1
BAD_INPUT = 2
STOPPED = 130

# Click's own root of errors, by way of the one child that Typer hands on in every version.
_UsageError = typer.BadParameter.__mro__[1]
_ClickError: Any = typer.BadParameter.__mro__[2]


def new_app(**settings: Any) -> typer.Typer:
    """Return a group of commands that end as this module says; `settings` are those of Typer."""
    return typer.Typer(cls=_Group, **settings)


class StoppedError(Exception):
    """Ctrl-C, and what it left."""


class _Group(TyperGroup):
    """A group of commands that ends as this module says; without arguments it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take no arguments for a wish for help."""
        return super().parse_args(ctx, args or ["--help"])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and leave the process with an exit code; `standalone_mode=False` is Typer's own."""

        def run() -> Any:
            return super(_Group, self).main(
                args, prog_name, complete_var, False, windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        given = sys.argv[1:] if args is None else list(args)
        with warnings.catch_warnings(), answering():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", IndexWarning)
            warnings.showwarning = _show_warning
            try:
                code = run()
            except Exception as error:
                code = report(error)
                if "--json" in given and not has_answered():
                    _answer(error, code)
        sys.exit(code or 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command and flush, so that a closed pipe is noticed here and not at exit."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_stdout()
            raise typer.Exit(STOPPED) from None
        except KeyboardInterrupt:  # of which Typer would say nothing
            raise StoppedError("stopped by Ctrl-C") from None
        return result


def report(error: Exception, more: str = "") -> int:
    """Write an error as one line to stderr and return the exit code that it stands for.

    Args:
        error: what was raised.
        more: what the line is to say beyond that.
    """
    if os.environ.get("REQUANT_TRACEBACK") == "1":
        traceback.print_exception(error)
    if isinstance(error, typer.Abort):
        return STOPPED
    if isinstance(error, StoppedError):
        warn(str(error))
        return STOPPED
    text, code = _explained(error)
    print(f"error: {one_line(masked(text + more))}", file=sys.stderr, flush=True)
    return code


@contextmanager
def stoppable(left: str, command: str = "the same command") -> Iterator[None]:
    """Let Ctrl-C within the block say what is left, and what goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(f"stopped by Ctrl-C: {left}; run {command} again to do it") from None


def confirm(question: str, yes: bool) -> None:
    """Ask before something is removed; raises InputError where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} Nobody can answer here: say --yes")
    typer.confirm(question, abort=True, err=True)


def _answer(error: Exception, code: int) -> None:
    """Write an error as the one JSON object that --json promises."""
    text = "stopped" if isinstance(error, typer.Abort) else _explained(error)[0]
    with contextlib.suppress(BrokenPipeError):
        print_json({"error": masked(text), "type": type(error).__name__, "code": code})


def _explained(error: Exception) -> tuple[str, int]:
    if isinstance(error, _ClickError):
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        return f"{error.format_message().rstrip('.')}{hint}", BAD_INPUT
    if isinstance(error, CorruptDataError | CorruptIndexError):
        return str(error), BAD_ANSWER
    if isinstance(error, RequantError | OSError):
        return str(error), BAD_INPUT
    if isinstance(error, StoppedError):
        return str(error), STOPPED
    unexpected = f"{type(error).__name__}: {error}"
    hint = "this is a bug in requant: run again with REQUANT_TRACEBACK=1 and report it"
    return f"{unexpected} ({hint})", BAD_ANSWER


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    warn(str(message))


def _silence_stdout() -> None:
    """Let what is still to be flushed at exit go nowhere, instead of failing again."""
    with contextlib.suppress(OSError, ValueError):  # a stdout without a file, as tests have it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
