"""The demo's report page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.embedded.language import parse_caption
from repic_cli.reports.html import Caption, Example, Known, Report, Shown

if TYPE_CHECKING:
    from repic_cli.demo.engine import DemoResult
    from repic_cli.evaluation.experiment import Experiment

TITLE = "Learning the names of things: a demonstration of repic"


def make_report(result: DemoResult, experiment: Experiment, database: Path, queries: Path) -> Report:
    """Everything on the page, from what the phases left."""
    curves = experiment.run / "curves.png"
    return Report(
        title=TITLE,
        lead=lead(result),
        before=result.before,
        after=result.after,
        examples=examples(result, database, queries),
        curves=curves.read_bytes() if curves.is_file() else None,
        facts=facts(result, experiment),
        commands=result.commands,
    )


def lead(result: DemoResult) -> str:
    """One sentence that tells what happened."""
    training = result.training
    return (
        f"{training['steps']} steps of GRPO with the verifiable rewards oct, vlt and ict, "
        f"in {minutes(training['seconds'])}: a small Qwen2.5-VL model learned to use the names that reference pictures "
        "show it. All scores and pictures are of things that it never saw in training."
    )


def minutes(seconds: float) -> str:
    """`3 min 5 s`."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def examples(result: DemoResult, database: Path, queries: Path) -> list[Example]:
    """The query pictures with the concepts that retrieval found and the captions of both models."""
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.data.images import open_picture

    made = []
    with ConceptDatabase(database) as store:
        for row in result.queries:
            found = row["after"]["concepts"]
            concepts = [store.find(hit["name"]) for hit in found]
            made.append(
                Example(
                    picture=open_picture(queries / row["file"]),
                    boxes=[Shown(hit["name"], tuple(hit["box"]), hit["score"]) for hit in found],
                    concepts=[Known(c.name, open_picture(c.picture.path), c.info) for c in concepts],
                    before=_caption(row["before"], row["objects"]),
                    after=_caption(row["after"], row["objects"]),
                )
            )
    return made


def _caption(said: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Caption:
    """The caption, and for each name that it puts somewhere whether that is right."""
    text = said["caption"]
    true = {item["name"]: item["position"] for item in objects if item["name"]}
    mentions = parse_caption(text)
    placed = {}
    for name in {hit["name"] for hit in said["concepts"]}:
        verdicts = [mention.position == true.get(name) for mention in mentions if mention.name == name]
        # Said more often than it was understood: which verdict belongs to which is not known.
        if len(verdicts) == text.count(f"<{name}>"):
            placed[name] = verdicts
    return Caption(text, placed)


def facts(result: DemoResult, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Tables of how it was made."""
    environment = experiment.run / "environment.json"
    about = json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {}
    return {
        "Seconds": result.seconds,
        "Configuration": flatten(experiment.config.model_dump(mode="json")),
        "Environment": flatten(about),
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys; lists in one line."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat
