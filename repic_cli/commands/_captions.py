"""How `repic caption` prints: captions as they come, what they rest on, progress, and what was skipped."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from repic_cli.commands import _show
from repic_plugins.errors import DataError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.captioning.batch import Batch
    from repic_cli.captioning.calibration import Calibration
    from repic_cli.captioning.results import CaptionResult, Failure, UsedConcept


@dataclass
class Report:
    """Prints the results of a batch of `count` pictures. `lone`: a single picture was asked for, by its name."""

    count: int
    out: Path | None
    as_json: bool
    lone: bool
    explain: bool
    captioned: int = 0
    skipped: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Say now what could not be done, and count it."""
        self.warnings.append(clean(text, 500))
        typer.echo(f"warning: {self.warnings[-1]}", err=True)

    def show(self, batch: Batch, pictures: Sequence[Path]) -> None:
        """Run the batch. Raises `DataError` when no picture at all could be captioned."""
        begin = time.monotonic()
        for result in self._with_progress(batch, pictures):
            self._result(result)
        seconds = time.monotonic() - begin
        if self.skipped and not self.captioned and not batch.kept:
            reason = clean(self.skipped[0].reason, 500)
            raise DataError(reason if self.lone else f"none of the {self.count} pictures could be read")
        self._summary(batch.kept, seconds)

    def _result(self, result: CaptionResult | Failure) -> None:
        from repic_cli.captioning.results import Failure

        if isinstance(result, Failure):
            self.skipped.append(result)
            if not self.lone:
                typer.echo(f"skipped: {clean(result.reason, 500)}", err=True)
        else:
            self.captioned += 1
        if self.out is not None:
            if self.explain and not isinstance(result, Failure):
                typer.echo(f"{clean(result.image, 500)}:", err=True)
                self._reasons(result)
        elif self.as_json:
            if not (self.lone and isinstance(result, Failure)):
                typer.echo(json.dumps(result.to_dict()))
        elif not isinstance(result, Failure):
            self._caption(result)

    def _caption(self, result: CaptionResult) -> None:
        """The caption on stdout; what it rests on, on stderr."""
        lines = [clean(line, 10_000) for line in result.caption.splitlines()]
        typer.echo("\n".join(lines) if self.lone else f"{clean(result.image, 500)}: {' '.join(lines)}")
        self._reasons(result)

    def _reasons(self, result: CaptionResult) -> None:
        if self.explain:
            for used in (*result.concepts, *result.rejected):
                typer.echo(f"  {explanation(used)}", err=True)
            if not result.concepts and not result.rejected:
                typer.echo("  nothing was looked for, or nothing came near", err=True)
            return
        found = [f"{used.name} ({used.score:.2f})" for used in result.concepts if used.score is not None]
        if found:
            typer.echo(f"  found: {', '.join(found)}", err=True)
        elif result.nearest is not None:
            near = result.nearest
            typer.echo(
                f"  found no concept; the nearest is {near.name} ({near.score or 0:.2f}): {near.reason}", err=True
            )

    def _summary(self, kept: int, seconds: float) -> None:
        if self.out is not None and self.as_json:
            facts: dict[str, Any] = {"out": str(self.out), "captioned": self.captioned, "kept": kept}
            skipped = [failure.to_dict() for failure in self.skipped]
            _show.print_json({**facts, "skipped": skipped, "warnings": self.warnings, "seconds": round(seconds, 1)})
        elif self.out is not None:
            rate = f" ({self.captioned / seconds:.1f} a second)" if self.captioned and seconds > 0 else ""
            before = f", {kept} were there already" if kept else ""
            typer.echo(f"captioned {_many(self.captioned)} in {seconds:.0f} s{rate}{before}; written to {self.out}")
        if self.skipped:
            typer.echo(f"warning: {len(self.skipped)} of {self.count} pictures skipped", err=True)

    def _with_progress(self, batch: Batch, pictures: Sequence[Path]) -> Iterator[CaptionResult | Failure]:
        """A bar on stderr while captions go to a file; on a screen the captions themselves show how far it is."""
        results = batch.run(pictures)
        to_screen = self.out is None and sys.stdout.isatty()
        if self.count == 1 or to_screen or not sys.stderr.isatty():
            yield from results
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        begin, done = time.monotonic(), 0
        # Rich would send our stdout to its console, which is stderr.
        with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
            row = bar.add_task("captioning", total=self.count, rate="")
            for result in results:
                yield result
                done += 1
                rate = f"{done / (time.monotonic() - begin):.1f}/s"
                bar.update(row, completed=done + batch.kept, rate=rate)


def explanation(used: UsedConcept) -> str:
    """One line: `bo: kept; at 12,30-80,99; distance 0.07 of at most 0.15; yes 0.93 of at least 0.50`."""
    parts = ["kept" if used.kept else f"left out, {used.reason}"]
    if used.box is not None:
        parts.append("at {:.0f},{:.0f}-{:.0f},{:.0f}".format(*used.box))
    if used.distance is not None and used.threshold is not None:
        parts.append(f"distance {used.distance:.2f} of at most {1 - used.threshold:.2f}")
    if used.probability is not None:
        parts.append(f"yes {used.probability:.2f} of at least {used.verify_threshold or 0:.2f}")
    if used.score is None:
        parts.append("given by name")
    return f"{used.name}: {'; '.join(parts)}"


def calibration_note(calibration: Calibration) -> str:
    """How the threshold of verification came about."""
    start = f"verification: a concept is kept from yes {calibration.threshold:.2f} on"
    if not calibration.pairs:
        return f"{start} (not measured: the database has too few concepts)"
    kept, passed = 100 * calibration.kept, 100 * calibration.passed
    return (
        f"{start} (of this database's own pictures, that keeps {kept:.0f} % of right and {passed:.0f} % of wrong ones)"
    )


def _many(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
