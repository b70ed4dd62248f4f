"""Put a captioner together from names: of a database, a model, an adapter, a detector."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from repic_cli.captioning.captioner import MAX_CONCEPTS, MAX_NEW_TOKENS, Captioner
from repic_cli.captioning.verification import LOOK, Look, Verifier
from repic_plugins.errors import DatabaseError

if TYPE_CHECKING:
    from repic_cli.concepts.store import ConceptDatabase
    from repic_cli.config import RunConfig
    from repic_cli.models import Backbone
    from repic_plugins.registry import PluginRegistry

Tell = Callable[[str], None]
"""Is told what was chosen or measured without being asked."""


def open_captioner(
    database: str | Path | ConceptDatabase | None = None,
    *,
    model: str | None = None,
    adapter: str | Path | None = None,
    preset: str | None = None,
    device: str | None = None,
    search: bool = True,
    detector: str | None = None,
    threshold: float | None = None,
    verify: bool = True,
    verify_threshold: float | None = None,
    verify_on: Look = LOOK,
    prompt: str | None = None,
    top_k: int | None = None,
    max_concepts: int = MAX_CONCEPTS,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 8,
    registry: PluginRegistry | None = None,
    tell: Tell = lambda note: None,
) -> Captioner:
    """See `Captioner.open`.

    `search` False: concepts are only given by name. `detector` None: what is available (`concepts.choosing`).
    `verify_threshold` None: the database's own for this model, which is measured now if there is none
    (`captioning.calibration`). `verify_on`: what the model is shown of the picture. `top_k`: the nearest concepts are
    shown, without threshold and verification.
    """
    from repic_cli.captioning.calibration import calibrated
    from repic_cli.concepts.choosing import open_retriever
    from repic_cli.models.load import locate

    config = choose_model(model, adapter, preset)
    verify = verify and top_k is None
    opened = None if database is None else open_database(database)
    load = cache(lambda: load_backbone(config, adapter, device, registry))  # late: what is wrong elsewhere comes first
    try:
        retriever, verifier, calibration = None, None, None
        if opened is not None and search:
            # Verification sorts out, so it is offered more than are shown.
            retriever = open_retriever(
                opened,
                detector=detector,
                threshold=threshold,
                most=top_k or (2 * max_concepts if verify else max_concepts),
                registry=registry,
                backbone=load,
                device=device,
                photographs=not locate(config.model.name).embedded,
                tell=tell,
            )
        backbone = load()
        if retriever is not None and verify:
            verifier = Verifier(backbone, verify_threshold, batch_size, verify_on)
            if verify_threshold is None:
                calibration = calibrated(retriever.database, verifier, retriever.encoder)
                verifier.threshold = calibration.threshold
    except BaseException:
        if opened is not None and opened is not database:
            opened.close()
        raise
    return Captioner(
        backbone,
        opened,
        retriever,
        verifier,
        calibration=calibration,
        question=prompt,
        top_k=top_k,
        max_concepts=max_concepts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )


def choose_model(model: str | None, adapter: str | Path | None, preset: str | None) -> RunConfig:
    """The model's settings: what is given, else the configuration of the run that made the adapter, else the preset."""
    from repic_cli.config import load_config, resolve

    file = None if adapter is None or preset is not None else _run_config(Path(adapter).expanduser())
    if file is not None:
        config = load_config(file)
        named = config.model if model is None else config.model.model_copy(update={"name": model})
        return config.model_copy(update={"model": named})
    # The default preset is made for the embedded model: another one comes in the precision it was saved in.
    dtype = "auto" if model is not None and preset is None else None
    return resolve(preset, overrides={"model.name": model, "model.dtype": dtype})


def _run_config(adapter: Path) -> Path | None:
    """The configuration of the run; `--adapter runs/a` and `--adapter runs/a/adapter` are the same adapter."""
    run = adapter.parent if adapter.name == "adapter" else adapter
    file = run / "config.toml"
    return file if adapter.is_dir() and file.is_file() else None


def open_database(database: str | Path | ConceptDatabase) -> ConceptDatabase:
    """The database, which must hold a concept."""
    from repic_cli.concepts.store import ConceptDatabase

    opened = database if isinstance(database, ConceptDatabase) else ConceptDatabase(database)
    if not len(opened):
        folder = opened.folder
        if opened is not database:
            opened.close()
        raise DatabaseError(
            f"{folder}: the database is empty; add a concept: repic db add {folder} --name bo photo.jpg"
        )
    return opened


def load_backbone(
    config: RunConfig, adapter: str | Path | None, device: str | None, registry: PluginRegistry | None
) -> Backbone:
    """The model with its adapter."""
    from repic_cli.models import load

    part = config.model
    return load(
        part.name,
        adapter=adapter or part.adapter,
        dtype=part.dtype,
        device=device or part.device,
        attn_implementation=part.attn_implementation,
        min_pixels=part.min_pixels,
        max_pixels=part.max_pixels,
        registry=registry,
    )
