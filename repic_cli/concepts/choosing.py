"""Which detector is used when none is asked for, and what a detector is built with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from repic_cli.concepts.encoders import EMBEDDED
from repic_plugins.options import factory_options
from repic_plugins.text import clean, is_name

if TYPE_CHECKING:
    from repic_cli.concepts.search import Retriever
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.models import Backbone
    from repic_plugins.registry import PluginRegistry
    from repic_plugins.types import Detector

MAX_CATEGORIES = 200
"""The most frequent categories of a database are looked for, up to this number."""


def pick_detector(database: ConceptDatabase, photographs: bool = False) -> tuple[str, str]:
    """The detector for a database when none is asked for, and why.

    A detector of things by name if its model is on this machine, else the captioning model's own grounding if it knows
    `photographs`, else the grid, which needs no model. Nothing is downloaded unasked.
    """
    from repic_cli.concepts.zero_shot import MODELS, cached

    if (database.encoder or EMBEDDED) == EMBEDDED:
        return "grid", "the database is of the embedded encoder's toy world"
    for name, model in MODELS.items():
        if cached(model):
            return name, f"{model} is on this machine"
    if photographs:
        return "vlm", "the captioning model itself is asked, as no detector is on this machine"
    return "grid", "no detector is on this machine; --detector owlv2 downloads one"


def build_detector(
    registry: PluginRegistry,
    choice: str,
    database: ConceptDatabase | None = None,
    backbone: Backbone | Callable[[], Backbone] | None = None,
    device: str | None = None,
) -> Detector:
    """The detector that `--detector` names: a registered one, or the folder or Hub id of a zero-shot detector.

    A factory with options called `categories`, `backbone` or `device` gets the database's categories (most frequent
    first), the captioning model, and the device. Raises `PluginError`, `OptionError` or `ModelError`.
    """
    offered: dict[str, Any] = {"backbone": backbone, "device": device}
    if database is not None:
        offered["categories"] = tuple(database.categories())[:MAX_CATEGORIES]
    if not is_name(choice) and "/" in choice:
        from repic_cli.concepts.zero_shot import ZeroShotDetector

        return ZeroShotDetector(choice, offered.get("categories", ()), device=device or "auto")
    entry = registry.select("detector", clean(choice, 80))
    wanted, _ = factory_options(entry.factory)
    options = {name: value for name, value in offered.items() if name in wanted and value is not None}
    found: Detector = registry.build("detector", entry.name, **options)
    return found


def open_retriever(
    database: ConceptDatabase,
    *,
    detector: str | None = None,
    registry: PluginRegistry | None = None,
    backbone: Callable[[], Backbone] | None = None,
    device: str | None = None,
    photographs: bool = False,
    tell: Callable[[str], None] = lambda note: None,
    **options: Any,
) -> Retriever:
    """The retriever of a database, with the encoder that it was begun with.

    `detector` None: what is available, which `tell` is told. `backbone`, `photographs`: see above. Other options are
    those of `Retriever`.
    """
    from repic_cli.concepts.encoders import build_encoder
    from repic_cli.concepts.search import Retriever
    from repic_plugins.manager import load_plugins

    plugins = registry or load_plugins()
    if detector is None:
        detector, why = pick_detector(database, photographs)
        tell(f"detector {detector}: {why}")
    proposer = build_detector(plugins, detector, database, backbone, device)
    encoder = build_encoder(plugins, database.encoder or EMBEDDED, device)
    return Retriever(database, encoder, proposer, **options)
