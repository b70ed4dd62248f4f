"""The root command: options, and every kind of error as one line and an exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from repic_cli import __version__
from repic_cli.app import COMMANDS, main, settings
from repic_cli.files import naming, write_file
from repic_plugins.errors import (
    DatabaseError,
    DataError,
    Interrupted,
    ModelError,
    OptionError,
    PluginError,
    RepicError,
    RewardError,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `repic` in this process: exit code, stdout, stderr."""

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(args)
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def command() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Add a command `trial` that does what it is given."""

    def add(action: Callable[[], None]) -> None:
        app = typer.Typer(rich_markup_mode=None)

        @app.command()
        def trial(number: Annotated[int, typer.Option(help="A number.")] = 0) -> None:
            action()

        module = ModuleType("repic_cli.commands.trial")
        module.app = app  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        COMMANDS["trial"] = "Try something."

    yield add
    COMMANDS.pop("trial", None)
    sys.modules.pop("repic_cli.commands.trial", None)


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"repic {__version__}\n", "")


def test_without_arguments_it_shows_its_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "Usage: repic" in out


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_unknown_command_suggests_a_close_one(run: Run) -> None:
    assert run("trian") == (2, "", "error: no command 'trian'; did you mean train? (see repic --help)\n")


def test_unknown_command_lists_all_when_none_is_close(run: Run) -> None:
    code, _, err = run("xyzzy")
    assert code == 2
    assert all(name in err for name in COMMANDS)


@pytest.mark.parametrize("args", [("--frob",), ("trial", "--frob"), ("trial", "--number", "x"), ("trial", "extra")])
def test_bad_command_line_is_one_line_and_exit_code_2(run: Run, command, args: tuple[str, ...]) -> None:
    command(lambda: None)
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.rstrip().endswith("--help)")


def test_bad_option_value_names_the_option(run: Run, command) -> None:
    command(lambda: None)
    _, _, err = run("trial", "--number", "x")
    assert "--number" in err
    assert "repic trial --help" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RepicError("no"), 1),
        (OptionError("no"), 2),
        (PluginError("no"), 3),
        (RewardError("no", reward="r"), 4),
        (DataError("no"), 5),
        (DatabaseError("no"), 6),
        (ModelError("no"), 7),
    ],
)
def test_our_errors_have_their_exit_codes(run: Run, command, error: RepicError, code: int) -> None:
    command(raising(error))
    assert run("trial") == (code, "", "error: no\n")


def test_message_of_several_lines_becomes_one(run: Run, command) -> None:
    command(raising(DataError("first\n  second")))
    assert run("trial")[2] == "error: first second\n"


def test_interrupted_command_says_its_own_words(run: Run, command) -> None:
    command(raising(Interrupted("saved in runs/a; go on with --resume")))
    assert run("trial") == (130, "", "saved in runs/a; go on with --resume\n")


def test_ctrl_c_is_130_with_a_line(run: Run, command) -> None:
    command(raising(KeyboardInterrupt()))
    assert run("trial") == (130, "", "stopped by Ctrl-C\n")


def test_exit_code_of_a_command_is_kept(run: Run, command) -> None:
    command(raising(typer.Exit(9)))
    assert run("trial") == (9, "", "")


def test_unexpected_error_is_one_line_with_a_hint(run: Run, command) -> None:
    command(raising(ZeroDivisionError("of\nmine")))
    code, _, err = run("trial")
    assert code == 1
    assert err == "error: unexpected ZeroDivisionError: of mine (`repic --debug ...` shows where)\n"


def test_debug_shows_the_traceback_too(run: Run, command) -> None:
    command(raising(DataError("no")))
    code, _, err = run("--debug", "trial")
    assert code == 5
    assert "Traceback" in err
    assert err.endswith("error: no\n")


def test_full_disk_names_the_file(run: Run, command) -> None:
    """/dev/full is a real full disk; its error names no file by itself."""

    def fill() -> None:
        with naming("/dev/full"), Path("/dev/full").open("w") as file:
            file.write("x" * 100)

    command(fill)
    assert run("trial") == (1, "", "error: /dev/full: the disk is full\n")


def test_system_error_names_the_file(run: Run, command, tmp_path) -> None:
    command(lambda: write_file(tmp_path, "this is a folder"))
    code, _, err = run("trial")
    assert code == 1
    assert str(tmp_path) in err
    assert err.count("\n") == 1


def test_write_file_leaves_the_old_one_when_the_disk_is_full(tmp_path, monkeypatch) -> None:
    target = tmp_path / "config.toml"
    write_file(target, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"config\.toml"):
        write_file(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("args", "expected"), [((), (False, True)), (("--no-plugins",), (False, False)), (("--debug",), (True, True))]
)
def test_root_options_reach_the_command(run: Run, command, args: tuple[str, ...], expected: tuple[bool, bool]) -> None:
    seen = []
    command(lambda: None)
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def trial(ctx: typer.Context) -> None:
        seen.append((settings(ctx).debug, settings(ctx).plugins))

    sys.modules["repic_cli.commands.trial"].app = app  # type: ignore[attr-defined]
    assert run(*args, "trial")[0] == 0
    assert seen == [expected]


def test_python_m_runs_it_too() -> None:
    done = subprocess.run([sys.executable, "-m", "repic_cli", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"repic {__version__}\n")


def test_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m repic_cli --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
