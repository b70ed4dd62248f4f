"""`repic eval score`: score the saved captions of any tool."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repic_cli.commands import _show
from repic_cli.commands._eval import app
from repic_plugins.errors import OptionError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.compare import Comparison
    from repic_cli.evaluation.captioned.paper import Case
    from repic_cli.evaluation.captioned.scores import Scores
    from repic_cli.evaluation.captioned.tables import Table

EXAMPLES = """Examples:

\b
  repic eval score captions.json                          both protocols, side by side
  repic eval score captions.jsonl --db mydb/ --mistakes   ... with all names of a database, and what is wrong
  repic eval score old.jsonl new.jsonl --compare          is the second better on the same queries?
  repic eval score */*.json --protocol paper --out scores.csv --out scores.md
"""
_ENDINGS = (".json", ".csv", ".md")


class Protocols(StrEnum):
    paper = "paper"
    strict = "strict"
    both = "both"


class PaperCase(StrEnum):
    auto = "auto"
    keep = "keep"
    fold = "fold"


_CASES: dict[PaperCase, Case | None] = {PaperCase.auto: None, PaperCase.keep: "keep", PaperCase.fold: "fold"}


class PaperPool(StrEnum):
    file = "file"
    db = "db"


class By(StrEnum):
    concept = "concept"
    picture = "picture"


class Resample(StrEnum):
    query = "query"
    picture = "picture"


@app.command(epilog=EXAMPLES)
def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Captions: RePIC's rows [image, [keys], caption, prompt], or JSON lines."),
    ],
    db: Annotated[
        list[Path] | None,
        typer.Option(help="Database whose names count: a folder, or RePIC's database.json. May be repeated."),
    ] = None,
    protocol: Annotated[Protocols, typer.Option(help="The paper's rule, the strict one, or both.")] = Protocols.both,
    by: Annotated[By | None, typer.Option(help="Break the scores down by concept or by picture.")] = None,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="List wrong and lacking names, and why the protocols differ.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare each file with the first, on the queries they have in common.")
    ] = False,
    resample: Annotated[
        Resample, typer.Option(help="What intervals resample: queries, or pictures with all their queries.")
    ] = Resample.query,
    paper_case: Annotated[
        PaperCase, typer.Option(help="The paper's rule: keep or fold case. auto: keep for 2 concepts, else fold.")
    ] = PaperCase.auto,
    paper_pool: Annotated[
        PaperPool, typer.Option(help="The paper's rule: other names are those of the file, or of --db too.")
    ] = PaperPool.file,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave rows out that cannot be read, and count them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts, with every slot.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with every concept and picture.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Write the scores here too: .json, .csv or .md. May be repeated."),
    ] = None,
) -> None:
    """Score the saved captions of any tool.

    Shows which names captions have that they should, by the paper's rule and by a strict one, side by side.
    """
    if sum((as_json, as_csv, as_markdown)) > 1:
        raise OptionError("--json, --csv and --markdown: give one; --out writes others beside it")
    for path in out or ():
        if path.suffix not in _ENDINGS:
            raise OptionError(f"--out {path}: the name has to end in {', '.join(_ENDINGS)}")
    if compare and len(files) < 2:
        raise OptionError("--compare needs two files: the second is compared with the first")
    if paper_pool is PaperPool.db and not db:
        raise OptionError("--paper-pool db needs --db: the database whose names count")

    from repic_cli.evaluation.captioned.scoring import Rules, compare_files, score_files

    rules = Rules(_CASES[paper_case], paper_pool is PaperPool.db, resample.value)
    scored = score_files(files, db or (), rules, skip_bad)
    report = _Report(scored, compare_files(scored) if compare else [], protocol, by, mistakes)
    for path in out or ():
        from repic_cli.files import write_file

        write_file(path, report.text(path.suffix))
    if as_json or as_csv or as_markdown:
        typer.echo(report.text(".json" if as_json else ".csv" if as_csv else ".md"), nl=False)
    else:
        report.show()
    report.tell()


class _Report:
    """What is printed and written."""

    def __init__(
        self,
        scored: list[Scores],
        compared: list[Comparison],
        protocol: Protocols,
        by: By | None,
        mistakes: bool,
    ) -> None:
        self.scored, self.compared, self.protocol, self.by, self.mistakes = scored, compared, protocol, by, mistakes

    def tables(self) -> list[Table]:
        from repic_cli.evaluation.captioned import tables
        from repic_cli.evaluation.captioned.scores import PROTOCOLS

        chosen = [name for name in PROTOCOLS if self.protocol in (Protocols.both, name)]
        own = [scores for scores in self.scored if scores.what == "captions"]
        found = [tables.score_table(self.scored, chosen)]
        found += [tables.beyond_table(own)] if self.protocol is not Protocols.paper else []
        found += [tables.part_table(scores, self.by.value) for scores in own if self.by is not None]
        found += [table for one in self.compared for table in tables.comparison_tables(one)]
        found += [table for scores in own if self.mistakes for table in tables.mistake_tables(scores)]
        return [table for table in found if table.rows]

    def text(self, ending: str) -> str:
        from repic_cli.evaluation.captioned import exports, tables

        if ending == ".csv":
            return exports.to_csv(self.scored)
        if ending == ".md":
            return tables.markdown(self.tables())
        return json.dumps(exports.to_json(self.scored, self.compared, self.mistakes), indent=1) + "\n"

    def show(self) -> None:
        """The tables on stdout."""
        for number, table in enumerate(self.tables()):
            if number:
                typer.echo()
            _show.print_table(table.columns, table.rows, table.title)

    def tell(self) -> None:
        """On stderr what a reader has to know to read the scores rightly."""
        from repic_cli.evaluation.captioned.rows import shown_skips
        from repic_cli.evaluation.captioned.tables import beyond_legend

        own = [scores for scores in self.scored if scores.what == "captions"]
        if self.protocol is not Protocols.paper:
            for line in beyond_legend(own):
                typer.echo(line, err=True)
        if any(scores.unit == "query" and 2 * scores.pictures.max() < len(scores.rows) for scores in own):
            _show.note("many queries share a picture and depend on each other; --resample picture allows for that")
        for scores in own:
            if scores.captions.failed:
                _show.note(f"{scores.label}: {scores.captions.failed} pictures have no caption and are left out")
            if scores.captions.skipped:
                typer.echo(f"warning: {len(scores.captions.skipped)} rows left out", err=True)
            for line in shown_skips(scores.captions.skipped):
                typer.echo(f"  {clean(line, 300)}", err=True)
