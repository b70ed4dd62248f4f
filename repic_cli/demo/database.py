"""The demo's use of the concept database: filling it, and captions of pictures with what is found in it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic_cli.demo.phases import Tell
from repic_cli.demo.scenes import Query, Thing

if TYPE_CHECKING:
    from repic_cli.models import Backbone
    from repic_plugins.registry import PluginRegistry

ENCODER, DETECTOR = "embedded", "grid"
CATEGORY = "toy"


def fill_database(folder: Path, registry: PluginRegistry, things: Sequence[Thing], tell: Tell) -> None:
    """What `repic db add` does, once for each thing; things that an interrupted demo has added are passed over."""
    from repic_cli.concepts.adding import add_concept
    from repic_cli.concepts.store import ConceptDatabase

    with ConceptDatabase(folder, create=True) as database:
        known = set(database.names())
    with tempfile.TemporaryDirectory() as place:
        for number, thing in enumerate(things, 1):
            if thing.name not in known:
                path = Path(place) / f"thing{number}.png"
                thing.picture.save(path)
                add_concept(folder, registry, thing.name, [path], info=thing.info, category=CATEGORY)
            tell(number, len(things))


def caption_queries(
    backbone: Backbone, registry: PluginRegistry, folder: Path, queries: Sequence[Query]
) -> list[dict[str, Any]]:
    """What `repic caption` does: for each picture the caption, and the concepts found in it that the model confirms."""
    from repic_cli.captioning.calibration import calibrated
    from repic_cli.captioning.captioner import MAX_CONCEPTS, Captioner
    from repic_cli.captioning.results import CaptionResult
    from repic_cli.captioning.verification import Verifier
    from repic_cli.concepts.encoders import build_encoder
    from repic_cli.concepts.search import Retriever
    from repic_cli.concepts.store import ConceptDatabase

    encoder = build_encoder(registry, ENCODER)
    with ConceptDatabase(folder) as database:
        retriever = Retriever(database, encoder, registry.build("detector", DETECTOR), most=2 * MAX_CONCEPTS)
        verifier = Verifier(backbone)
        calibration = calibrated(database, verifier, encoder)
        verifier.threshold = calibration.threshold
        captioner = Captioner(backbone, database, retriever, verifier, calibration=calibration)
        results = captioner.caption_many([query.path for query in queries], skip=False)
        return [_plain(result) for result in results if isinstance(result, CaptionResult)]


def _plain(result: Any) -> dict[str, Any]:
    concepts = [{"name": used.name, "box": list(used.box), "score": round(used.score, 4)} for used in result.concepts]
    return {"caption": result.caption, "concepts": concepts}
