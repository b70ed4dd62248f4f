"""`repic eval score`: score the saved captions of any tool."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from repic_cli.commands._eval import app, check_out
from repic_cli.commands._eval_report import ENDINGS, Report, show_skills
from repic_plugins.errors import OptionError

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.paper import Case

EXAMPLES = """Examples:

\b
  repic eval score captions.json                          both protocols, side by side
  repic eval score captions.jsonl --db mydb/ --mistakes   ... with all names of a database, and what is wrong
  repic eval score old.jsonl new.jsonl --compare          is the second better on the same queries?
  repic eval score */*.json --protocol paper --out scores.csv --out scores.md
"""


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


_BY: dict[By, Literal["concept", "picture"]] = {By.concept: "concept", By.picture: "picture"}


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
        if path.suffix not in ENDINGS:
            raise OptionError(f"--out {path}: the name has to end in {', '.join(ENDINGS)}")
        check_out(path, files)
    if compare and len(files) < 2:
        raise OptionError("--compare needs two files: the second is compared with the first")
    if paper_pool is PaperPool.db and not db:
        raise OptionError("--paper-pool db needs --db: the database whose names count")

    from repic_cli.evaluation.skills import is_answers

    answers = [path for path in files if is_answers(path)]
    if answers:
        if len(answers) < len(files) or out or compare or as_csv or as_markdown:
            raise OptionError(f"{answers[0]}: answers to questions; score such files apart, with no option but --json")
        show_skills(answers, as_json)
        return

    from repic_cli.evaluation.captioned.scoring import Rules, compare_files, score_files

    rules = Rules(_CASES[paper_case], paper_pool is PaperPool.db, resample.value)
    scored = score_files(files, db or (), rules, skip_bad)
    report = Report(scored, compare_files(scored) if compare else [], protocol.value, _BY[by] if by else None, mistakes)
    report.write(out or ())
    if as_json or as_csv or as_markdown:
        typer.echo(report.text(".json" if as_json else ".csv" if as_csv else ".md"), nl=False)
    else:
        report.show()
    report.tell()
