"""`repic eval judge`: let a judge model compare the captions of two systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_cli.commands._db import progress
from repic_cli.commands._eval import app, check_out
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.evaluation.judging.estimating import Estimate, Prices
    from repic_cli.evaluation.judging.run import Judging, Result
    from repic_cli.evaluation.judging.verdicts import Summary

EXAMPLES = """Examples:

\b
  repic eval judge ours.jsonl theirs.jsonl --judge openai:gpt-4o --pictures photos/ --dry-run
  repic eval judge ours.jsonl theirs.jsonl --judge gemini:gemini-2.5-flash --pictures photos/ --limit 100
  repic eval judge ours.json theirs.json --judge http://localhost:8000/v1#qwen --no-pictures --out judged.jsonl

Keys come from OPENAI_API_KEY and GEMINI_API_KEY. Replies are kept: the same command asks only for what is missing.
Pictures and captions are sent to the judge.
"""


@app.command(epilog=EXAMPLES)
def judge(
    a: Annotated[Path, typer.Argument(metavar="A", help="Captions of one system: RePIC's rows, or JSON lines.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Captions of the other.")],
    judge: Annotated[str, typer.Option(help="Who judges: openai:MODEL, gemini:MODEL or http://HOST/v1#MODEL.")],
    pictures: Annotated[
        list[Path] | None, typer.Option(help="Folder that the pictures lie in; may be given several times.")
    ] = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Show the judge captions and names only.")] = False,
    max_side: Annotated[int, typer.Option(min=64, max=8192, help="Longest side of a picture that is sent.")] = 1024,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge so many pairs only, drawn by chance.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the intervals.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost; ask nothing.")] = False,
    price_in: Annotated[
        float | None, typer.Option(min=0, help="Price of a million tokens that are sent, in any currency.")
    ] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens of the replies.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 4,
    retries: Annotated[int, typer.Option(min=0, max=50, help="How often a request is repeated that failed.")] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 120.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens (with its thoughts).")] = 1000,
    default_temperature: Annotated[
        bool, typer.Option("--default-temperature", help="Do not ask for temperature 0, which some judges refuse.")
    ] = False,
    key_variable: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key, if it is another.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="File in which replies are kept. Default: ~/.cache/repic/judge.sqlite.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each pair here, with both replies.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that cannot be read and pictures that are missing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Let a judge model compare the captions of two systems."""
    from repic_cli.concepts.formats.places import Places
    from repic_cli.evaluation.captioned.rows import read_captions
    from repic_cli.evaluation.judging.asking import Settings
    from repic_cli.evaluation.judging.cache import ReplyCache, default_path
    from repic_cli.evaluation.judging.endpoint import parse_judge
    from repic_cli.evaluation.judging.estimating import prices_of
    from repic_cli.evaluation.judging.pairing import chosen, folders_of, pair_up
    from repic_cli.evaluation.judging.run import Judging
    from repic_plugins.errors import OptionError

    if no_pictures and pictures:
        raise OptionError("give --pictures or --no-pictures, not both")
    if out is not None:
        check_out(out, (a, b))
    endpoint = parse_judge(judge, key_variable)
    prices = prices_of(price_in, price_out)
    settings = Settings(max_tokens, None if default_temperature else 0.0, timeout, retries)
    sets = read_captions(a, skip_bad), read_captions(b, skip_bad)
    paired = pair_up(*sets)
    places = None if no_pictures else Places(folders_of(*sets, pictures or []))
    with ReplyCache(cache or default_path()) as replies:
        judging = Judging(endpoint, settings, replies, None if no_pictures else max_side, skip_bad)
        judging.skipped.extend([*sets[0].skipped, *sets[1].skipped])
        works = judging.prepare(chosen(paired.pairs, limit, seed), places)
        before = judging.estimate(works)
        facts: dict[str, Any] = {"judge": endpoint.spec, "a": str(a), "b": str(b), "pairs": len(works)}
        facts |= {"only_a": paired.only_a, "only_b": paired.only_b, "left_out": len(paired.pairs) - len(works)}
        if dry_run:
            _print_estimate(facts, before, prices, judging.skipped, as_json)
            return
        endpoint.key()  # an error now, not behind the estimate
        _show.note(_estimate_line(before, prices))
        results = _judge(judging, works, concurrency)
    if out is not None:
        _write(out, results)
    _report(facts, judging, results, prices, seed, as_json, out)


def _judge(judging: Judging, works: list[Any], concurrency: int) -> list[Result]:
    """Run with a bar; whatever ends it says that what was paid for is kept."""
    from repic_plugins.errors import Interrupted, RepicError

    with progress("judging") as bar:
        try:
            return judging.run(works, concurrency, lambda done: bar(done, len(works)))
        except (KeyboardInterrupt, RepicError) as error:
            kept = f"{judging.kept} replies of this run are kept; the same command goes on"
            if isinstance(error, RepicError):
                raise type(error)(f"{error}; {kept}") from error
            raise Interrupted(f"stopped by Ctrl-C; {kept}") from error


def _write(out: Path, results: list[Result]) -> None:
    from repic_cli.evaluation.judging.run import line_of
    from repic_cli.files import replacing

    with replacing(out) as file:
        file.writelines(f"{json.dumps(line_of(result))}\n".encode() for result in results)


def _report(
    facts: dict[str, Any],
    judging: Judging,
    results: list[Result],
    prices: Prices | None,
    seed: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Print what came out. Raises `DataError` when no pair has a verdict."""
    from collections import Counter

    from repic_cli.evaluation.judging.run import tokens
    from repic_cli.evaluation.judging.verdicts import summarise
    from repic_plugins.errors import DataError

    summary = summarise([result.judged for result in results], seed)
    paid, cached = tokens(results, paid=True), tokens(results, paid=False)
    names = ("in", "out", "replies_without_count")
    errors = Counter(answer.error for result in results for answer in result.answers if answer.error)
    facts |= {
        **summary.to_dict(),
        "requests": {"sent": judging.sent, "repeated": judging.retries},
        "tokens_paid_now": dict(zip(names, paid, strict=True)),
        "tokens_of_kept_replies": dict(zip(names, cached, strict=True)),
        "price_now": None if prices is None else prices.of(paid[0], paid[1]),
        "failures": dict(errors),
        "skipped": judging.skipped,
        "out": None if out is None else str(out),
    }
    if as_json:
        _show.print_json(facts)
    else:
        _print_summary(facts, summary)
        typer.echo(_tokens_line(paid, cached, prices, judging.retries))
    for message, count in errors.most_common(3):
        typer.echo(f"warning: {count} requests failed: {message}; the same command asks them again", err=True)
    _warn_of_skipped(judging.skipped)
    if not sum(summary.verdicts[name] for name in ("a", "b", "tie")):
        raise DataError(f"no pair got a verdict (replies: {_counts(summary.replies)})")


def _print_summary(facts: dict[str, Any], summary: Summary) -> None:
    from repic_cli.evaluation.statistics import shown

    found = summary.verdicts
    ties = f"{summary.order_dependent} as the orders differ, {summary.same} of the same captions"
    rows = [("A preferred", found["a"], ""), ("B preferred", found["b"], ""), ("tie", found["tie"], ties)]
    rows += [(f"no verdict: {name}", found[name], "") for name in ("refused", "unreadable", "failed") if found[name]]
    shares = [
        ("win rate of A", summary.win_rate_a, "a tie counts half"),
        ("win rate of B", summary.win_rate_b, ""),
        ("A where decided", summary.decided_a, "without ties"),
        ("first shown chosen", summary.first_chosen, "50 without position bias"),
        ("longer chosen", summary.longer_chosen, "50 where length plays no part"),
    ]
    typer.echo(clean(f"{facts['judge']} on {facts['pairs']} pairs", 300))
    typer.echo(clean(f"A: {facts['a']}, B: {facts['b']}", 600))
    _show.print_table(("verdict", "pairs", ""), rows)
    lines = [(label, shown(share), text) for label, share, text in shares if share.n]
    if lines:
        _show.print_table(("of the verdicts", "% [95 %]", ""), lines)
    if facts["only_a"] or facts["only_b"]:
        _show.note(f"without a partner: {facts['only_a']} rows of A, {facts['only_b']} of B")


def _tokens_line(paid: tuple[int, int, int], cached: tuple[int, int, int], prices: Prices | None, repeated: int) -> str:
    parts = [f"tokens paid in this run: {paid[0]:,} in, {paid[1]:,} out"]
    if paid[2]:
        parts.append(f"{paid[2]} replies did not tell theirs")
    if prices is not None:
        parts.append(f"price {prices.of(paid[0], paid[1]):.4f}")
    if cached[0] or cached[1]:
        parts.append(f"of replies that were kept: {cached[0]:,} in, {cached[1]:,} out")
    if repeated:
        parts.append(f"{repeated} requests were repeated")
    return "; ".join(parts)


def _print_estimate(
    facts: dict[str, Any], before: Estimate, prices: Prices | None, skipped: list[str], as_json: bool
) -> None:
    if as_json:
        price = None if prices is None else prices.of(before.tokens_in, before.tokens_out)
        most = None if prices is None else prices.of(before.tokens_in, before.most_out)
        _show.print_json({**facts, "estimate": vars(before) | {"price": price, "most": most}, "skipped": skipped})
    else:
        typer.echo(f"{facts['pairs']} pairs, {facts['judge']}")
        typer.echo(_estimate_line(before, prices))
    _warn_of_skipped(skipped)


def _estimate_line(before: Estimate, prices: Prices | None) -> str:
    """One line: requests, tokens, price, and how sure that is."""
    parts = [f"{before.requests} requests to send ({before.known} replies are there already)"]
    if not before.requests:
        return parts[0]
    parts.append(f"about {before.tokens_in:,} tokens in, {before.tokens_out:,} out (at most {before.most_out:,})")
    if prices is not None:
        price, most = (prices.of(before.tokens_in, out) for out in (before.tokens_out, before.most_out))
        parts.append(f"price about {price:.2f}, at most {most:.2f}" if most >= 1 else f"price about {price:.4f}")
    how = f"measured on {before.measured} replies" if before.measured else "guessed; --limit 5 first measures it"
    return f"{', '.join(parts)}; {how}"


def _warn_of_skipped(skipped: list[str]) -> None:
    from repic_cli.evaluation.captioned.rows import shown_skips

    if skipped:
        typer.echo(f"warning: {len(skipped)} skipped", err=True)
        for line in shown_skips(skipped):
            typer.echo(f"  {clean(line, 500)}", err=True)


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items() if count) or "none"
