"""How scores of captions are printed and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from repic_cli.commands import _show
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.breakdown import By
    from repic_cli.evaluation.captioned.compare import Comparison
    from repic_cli.evaluation.captioned.scores import Scores
    from repic_cli.evaluation.captioned.tables import Table

ENDINGS = (".json", ".csv", ".md")


class Report:
    """What is printed and written of scores. `protocol` is paper, strict or both."""

    def __init__(
        self,
        scored: Sequence[Scores],
        compared: Sequence[Comparison] = (),
        protocol: str = "both",
        by: By | None = None,
        mistakes: bool = False,
    ) -> None:
        self.scored, self.compared, self.protocol, self.by, self.mistakes = scored, compared, protocol, by, mistakes

    def tables(self) -> list[Table]:
        from repic_cli.evaluation.captioned import tables
        from repic_cli.evaluation.captioned.scores import PROTOCOLS

        chosen = [name for name in PROTOCOLS if self.protocol in ("both", name)]
        own = [scores for scores in self.scored if scores.what == "captions"]
        found = [tables.score_table(self.scored, chosen)]
        found += [tables.beyond_table(own)] if self.protocol != "paper" else []
        found += [tables.part_table(scores, self.by) for scores in own if self.by is not None]
        found += [table for one in self.compared for table in tables.comparison_tables(one, chosen)]
        found += [table for scores in own if self.mistakes for table in tables.mistake_tables(scores)]
        return [table for table in found if table.rows]

    def text(self, ending: str) -> str:
        from repic_cli.evaluation.captioned import exports, tables

        if ending == ".csv":
            return exports.to_csv(self.scored)
        if ending == ".md":
            return tables.markdown(self.tables())
        return json.dumps(exports.to_json(self.scored, self.compared, self.mistakes), indent=1) + "\n"

    def write(self, paths: Iterable[Path]) -> None:
        """Write files, each in the form that its ending says."""
        from repic_cli.files import write_file

        for path in paths:
            write_file(path, self.text(path.suffix))

    def show(self) -> None:
        """The tables on stdout."""
        for number, table in enumerate(self.tables()):
            if number:
                typer.echo()
            _show.print_table(table.columns, table.rows, table.title)

    def tell(self) -> None:
        """On stderr what a reader has to know to read the scores rightly."""
        from repic_cli.evaluation.captioned.rows import WRONG, shown_skips
        from repic_cli.evaluation.captioned.tables import beyond_legend

        own = [scores for scores in self.scored if scores.what == "captions"]
        if self.protocol != "paper":
            for line in beyond_legend(own):
                typer.echo(line, err=True)
        if any(scores.unit == "query" and 2 * scores.pictures.max() < len(scores.rows) for scores in own):
            _show.note("many queries share a picture and depend on each other; --resample picture allows for that")
        for scores in own:
            if any(row.setting == WRONG for row in scores.rows):
                _show.note(f"{scores.label}: the names counted are those shown, which are not there: lower is better")
            if scores.captions.failed:
                _show.note(f"{scores.label}: {scores.captions.failed} pictures have no caption and are left out")
            if scores.captions.skipped:
                typer.echo(f"warning: {len(scores.captions.skipped)} rows left out", err=True)
            for line in shown_skips(scores.captions.skipped):
                typer.echo(f"  {clean(line, 300)}", err=True)


def show_skills(paths: Sequence[Path], as_json: bool) -> None:
    """Print the scores of files of answers to questions of recognition or grounding."""
    from repic_cli.evaluation.skills import LABELS, score_skill
    from repic_cli.evaluation.statistics import shown

    scored = [(path, *score_skill(path)) for path in paths]
    if as_json:
        _show.print_json(
            {
                "files": [
                    {"file": str(path), "setting": skill, "scores": {k: v.to_json() for k, v in found.items()}}
                    for path, skill, found in scored
                ]
            }
        )
        return
    for path, skill, found in scored:
        rows = [(name, LABELS[name], shown(one), str(one.n)) for name, one in found.items()]
        _show.print_table((skill, "", "per cent, 95 % interval", "N"), rows, path.name)
