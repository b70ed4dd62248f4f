"""The root of the `repic` command: lazy commands, and every error as one line plus an exit code.

`repic --help` must be quick beside an installed torch, so this module imports Typer only. A command's module is
imported when the command is called; the lines that the root help shows are kept here, and a test compares them with
what the commands say of themselves.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": "Show the whole loop on the embedded model: measure, train, measure again, caption, report.",
    "data": "Build, import, export, check and show training records.",
    "train": "Post-train a model with verifiable rewards (GRPO).",
    "caption": "Caption pictures with the names of your own concepts.",
    "db": "Keep the database of your personal concepts.",
    "eval": "Score captions, make them for scoring, and let a judge compare them.",
    "rewards": "List, show and replay rewards.",
    "tasks": "List and show the training tasks.",
    "plugins": "List, check and write plugins.",
    "embedded": "Build, measure and show the embedded tiny model.",
}
"""Command -> its first help line. The module is `repic_cli.commands.<command>`, its `app` a `typer.Typer`."""


@dataclass
class Settings:
    """The root options. Commands get them with `settings(ctx)`."""

    debug: bool = False
    plugins: bool = True


def settings(ctx: typer.Context) -> Settings:
    """The root options of this call; the defaults when a command's own app is run alone."""
    return ctx.find_object(Settings) or Settings()


class LazyGroup(TyperGroup):
    """A group that imports a command's module when it is called, not when it is listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"no command {cmd_name!r}; {hint}")
        if cmd_name not in self.commands:
            command = typer.main.get_command(import_module(f"repic_cli.commands.{cmd_name}").app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        from repic_plugins.errors import Interrupted

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # Typer would exit without a word
            raise Interrupted("stopped by Ctrl-C") from error


app = typer.Typer(
    cls=LazyGroup,
    # Plain help: the rich one costs 50 ms of imports, and breaks the lines of examples.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: repic demo",
)


def _version(value: bool) -> None:
    if value:
        from repic_cli import __version__

        typer.echo(f"repic {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    no_plugins: Annotated[bool, typer.Option("--no-plugins", help="Load the built-in plugins only.")] = False,
) -> None:
    """Teach multimodal language models the names of your own things, by reinforcement learning."""
    chosen = ctx.ensure_object(Settings)
    chosen.debug, chosen.plugins = debug, not no_plugins
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> None:
    """Run `repic` with `args` (default: the process's own) and exit with its code. Never shows a traceback unasked."""
    chosen = Settings()
    command = typer.main.get_command(app)
    try:
        code = command.main(args, prog_name="repic", standalone_mode=False, obj=chosen)
    except (Exception, KeyboardInterrupt) as error:
        if chosen.debug:
            traceback.print_exc()
        line, code = explain(error)
        typer.echo(line, err=True)
    sys.exit(code if isinstance(code, int) else 0)


def run_module(command: Callable[..., None]) -> None:
    """A command of its own, as `python -m repic_cli.evaluation.study`; errors come as one line, as those of `repic`."""
    from repic_plugins.errors import RepicError

    try:
        typer.run(command)
    except RepicError as error:
        line, code = explain(error)
        typer.echo(line, err=True)
        sys.exit(code)


def explain(error: BaseException) -> tuple[str, int]:
    """What the user is told about an error that ended a command, and the exit code."""
    from repic_plugins.errors import Interrupted, RepicError

    if isinstance(error, Interrupted):
        return str(error), error.exit_code
    if isinstance(error, RepicError):
        return f"error: {_one_line(str(error))}", error.exit_code
    if isinstance(error, typer.TyperException):
        return _explain_usage(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "stopped by Ctrl-C", 130
    if isinstance(error, OSError) and error.errno is not None:
        return f"error: {_explain_system(error)}", 1
    what = _one_line(str(error)) or "no message"
    return f"error: unexpected {type(error).__name__}: {what} (`repic --debug ...` shows where)", 1


def _explain_usage(error: typer.TyperException) -> str:
    """A bad command line, in one line that says where its help is."""
    message = error.format_message()
    ctx = getattr(error, "ctx", None)
    if ctx is not None and message == ctx.get_help():  # a group called without a command
        return message
    where = ctx.command_path if ctx is not None else "repic"
    text = " ".join(message.split()).rstrip(".")
    if text[:1].isupper() and text[1:2].islower():
        text = text[0].lower() + text[1:]
    return f"error: {text} (see {where} --help)"


def _explain_system(error: OSError) -> str:
    """An error of the operating system: what happened, to which file."""
    names = [os.fsdecode(n) if isinstance(n, bytes) else str(n) for n in (error.filename, error.filename2) if n]
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else (error.strerror or str(error))
    what = what if what[1:2].isupper() else what[:1].lower() + what[1:]
    return f"{' -> '.join(names)}: {what}" if names else what


def _one_line(text: str) -> str:
    """The message without line breaks and runs of white space."""
    return " ".join(text.split())
