"""Development sessions: `nox -l` lists them, `nox -s tests` runs one.

Each makes its own virtual environment from constraints.txt. With `nox --no-venv` a session uses the current one.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "package", "docs"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2025.2"

ROOT = Path(__file__).parent
PYTHON = "3.11"
CODE = ("repic_cli", "plugins", "rewards", "tests", "benchmarks", "noxfile.py")


def install(session: nox.Session, *what: str) -> None:
    """pip install under our constraints."""
    session.install("-c", "constraints.txt", *what)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """The test suite with its coverage bar. `nox -s tests -- tests/cli -x` runs a part."""
    install(session, "-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """ruff: rules, and the formatting of the code."""
    install(session, "ruff")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session(python=PYTHON)
def types(session: nox.Session) -> None:
    """mypy, strict, over the three packages."""
    install(session, "-e", ".[dev]")
    session.run("mypy")


@nox.session(python=PYTHON)
def package(session: nox.Session) -> None:
    """Build the wheel, install it where no checkout can help, and check what it holds."""
    install(session, "build", "hatchling", "hypothesis", "pytest", "pytest-cov", "pytest-timeout")
    dist = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(dist), str(ROOT))
    wheel = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    install(session, str(wheel))
    tests = ROOT / "tests/test_layout.py"
    with session.chdir(session.create_tmp()):
        session.run("repic", "--version")
        session.run(
            "pytest", "-c", str(ROOT / "pyproject.toml"), "--no-cov", str(tests), env={"REPIC_WHEEL": str(wheel)}
        )


@nox.session(python=PYTHON)
def docs(session: nox.Session) -> None:
    """The README's commands and the help texts are what they claim to be."""
    install(session, "-e", ".[dev]")
    session.run("pytest", "--no-cov", "-k", "readme or help", *session.posargs)


@nox.session(python=PYTHON)
def bench(session: nox.Session) -> None:
    """All benchmarks, one after the other; each prints its own table."""
    install(session, "-e", ".[dev]")
    for script in sorted(ROOT.glob("benchmarks/[!_]*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session(python=PYTHON)
def study(session: nox.Session) -> None:
    """The three-seed study behind the README's table: train and measure on held-out identities."""
    install(session, "-e", ".[dev]")
    session.run("python", "-m", "repic_cli.evaluation.study", *session.posargs)


@nox.session(python=PYTHON)
def retrieval(session: nox.Session) -> None:
    """The study of retrieval: names in captions with concepts given and retrieved."""
    install(session, "-e", ".[dev]")
    session.run("python", "-m", "repic_cli.evaluation.retrieval_study", *session.posargs)


@nox.session(python=PYTHON)
def crashes(session: nox.Session) -> None:
    """200 x kill -9 of processes that write in a concept database; nothing may be lost or half there."""
    install(session, "-e", ".[dev]")
    session.run("python", "benchmarks/_crashes.py", *session.posargs)
