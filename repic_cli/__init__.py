"""The `repic` command and the engine behind it. Its Python interface is here:

    from repic_cli import Captioner, ConceptDatabase

    with ConceptDatabase("mydb/") as database, Captioner.open(database, model="embedded") as captioner:
        result = captioner.caption("photo.jpg")
        print(result.caption, [used.name for used in result.concepts])

Importing this package imports nothing else: torch and friends load where they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_cli.captioning.captioner import Captioner
    from repic_cli.captioning.results import CaptionResult, Failure, UsedConcept
    from repic_cli.concepts.concept import Concept, NewConcept
    from repic_cli.concepts.search import Hit, Retrieval, Retriever
    from repic_cli.concepts.store import ConceptDatabase

__version__ = "0.1.0"
__all__ = [
    "CaptionResult",
    "Captioner",
    "Concept",
    "ConceptDatabase",
    "Failure",
    "Hit",
    "NewConcept",
    "Retrieval",
    "Retriever",
    "UsedConcept",
]
_PLACES = {
    "Captioner": "repic_cli.captioning.captioner",
    "CaptionResult": "repic_cli.captioning.results",
    "Failure": "repic_cli.captioning.results",
    "UsedConcept": "repic_cli.captioning.results",
    "Concept": "repic_cli.concepts.concept",
    "NewConcept": "repic_cli.concepts.concept",
    "ConceptDatabase": "repic_cli.concepts.store",
    "Hit": "repic_cli.concepts.search",
    "Retrieval": "repic_cli.concepts.search",
    "Retriever": "repic_cli.concepts.search",
}


def __getattr__(name: str) -> Any:
    """Import a part of the interface when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
