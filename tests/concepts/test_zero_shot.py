"""Detectors of transformers, as tiny models of the true architectures with random weights, saved to a folder."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repic_cli.concepts import zero_shot
from repic_cli.concepts.choosing import build_detector, pick_detector
from repic_cli.concepts.grounding import GroundingDetector
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.concepts.zero_shot import PROMPTS, ZeroShotDetector, distinct, prompts
from repic_cli.models import load
from repic_plugins.errors import ModelError, OptionError
from repic_plugins.registry import PluginRegistry
from repic_plugins.types import Proposal

DINO_SIZES = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 12,
}


def save_owl(folder: Path) -> None:
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = {token: row for row, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    text = {"vocab_size": len(words), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": 0}
    config = Owlv2Config(
        text_config=text | ends | {"num_attention_heads": 2},
        vision_config=vision | {"image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=16, pad_token="<|endoftext|>")
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)


def save_dino(folder: Path, kind: str) -> None:
    import transformers as hf

    swin = hf.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_indices=[2, 3, 4]
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, ".", *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    bert = hf.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    config = getattr(hf, f"{kind}Config")(backbone_config=swin, text_config=bert, **DINO_SIZES)
    getattr(hf, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = hf.BertTokenizer.from_pretrained(folder)
    images = hf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    hf.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module", params=["owlv2", "grounding-dino", "mm-grounding-dino"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors") / request.param
    folder.mkdir()
    torch.manual_seed(1)
    if request.param == "owlv2":
        save_owl(folder)
    else:
        save_dino(folder, "GroundingDino" if request.param == "grounding-dino" else "MMGroundingDino")
    return folder


def noise(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_boxes_are_pixels_of_the_picture(model: Path) -> None:
    detector = ZeroShotDetector(str(model), ["Dog", "red bag"], threshold=0.0, device="cpu")
    assert detector.family == model.name
    found = detector.propose(noise())
    assert 0 < len(found) <= detector.most
    scores = [proposal.score for proposal in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    # Boxes of random weights may overshoot, but they are in pixels, not parts.
    assert max(max(proposal.box) for proposal in found) > 10
    assert detector.propose(noise()) == found
    if model.name == "owlv2":
        assert {proposal.label for proposal in found} <= {"dog", "red bag"}
    assert ZeroShotDetector(str(model), ["dog"], threshold=1.0, device="cpu").propose(noise()) == []


def test_many_categories_take_several_passes(model: Path) -> None:
    # The three-letter word is as long as three words for this tokenizer of letters, hence few per pass.
    detector = ZeroShotDetector(str(model), [f"{a}{b}" for a in "abcdef" for b in "ghijklmnopqrst"], 0.0, "cpu")
    parts = list(detector._parts())
    assert len(parts) > 1
    assert tuple(prompt for part in parts for prompt in part) == detector.prompts
    assert detector.propose(noise())


def test_the_same_as_transformers_own_pipeline(model: Path) -> None:
    """An independent path through the library: the same boxes for the same text."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    if model.name != "owlv2":
        pytest.skip("the pipeline words the prompts of Grounding DINO in another way")
    from transformers import pipeline

    detector = ZeroShotDetector(str(model), ["dog"], threshold=0.0, device="cpu", most=1000)
    plain = pipeline(
        "zero-shot-object-detection",
        model=AutoModelForZeroShotObjectDetection.from_pretrained(model),
        tokenizer=AutoProcessor.from_pretrained(model).tokenizer,
        image_processor=AutoProcessor.from_pretrained(model).image_processor,
    )
    rows = plain(noise(), candidate_labels=["a photo of a dog"], threshold=0.0)
    best = max(rows, key=lambda row: row["score"])
    ours = detector.propose(noise())[0]
    assert ours.score == pytest.approx(best["score"], abs=1e-4)
    np.testing.assert_allclose(ours.box, list(best["box"].values()), atol=1.0)


def test_what_is_no_detector(model: Path, tmp_path: Path, mini_model: Path) -> None:
    with pytest.raises(ModelError, match="is a qwen2_5_vl, not one of owlv2"):
        ZeroShotDetector(str(mini_model))
    with pytest.raises(OptionError, match="a threshold lies between 0 and 1"):
        ZeroShotDetector(str(model), threshold=3)
    with pytest.raises(OptionError, match="'int8' is no floating type"):
        ZeroShotDetector(str(model), dtype="int8")
    with pytest.raises(ModelError, match=r"cannot be loaded .* or --detector grid"):
        ZeroShotDetector("nobody/nothing")


def test_prompts_are_plain() -> None:
    assert prompts(["Dog", "dog", " red. bag\x1b[2J "]) == ("dog", "red bag")
    assert prompts([]) == PROMPTS
    assert prompts(["..."]) == PROMPTS


def test_of_boxes_at_one_place_the_best_stays() -> None:
    one, same, other = (0, 0, 10, 10), (0, 0, 10, 9), (20, 0, 30, 10)
    found = distinct([Proposal(one, 0.5), Proposal(same, 0.9), Proposal(other, 0.2)], 5)
    assert [proposal.box for proposal in found] == [same, other]
    assert len(distinct(found, 1)) == 1
    assert distinct([], 5) == []


def test_the_captioning_model_is_asked_for_boxes(registry: PluginRegistry) -> None:
    """The embedded model learned to locate things: its box of the only thing there is about right."""
    from repic_cli.concepts.geometry import overlap
    from repic_cli.embedded.world import identities, render_scene

    backbone = load("embedded", device="cpu")
    rng = np.random.default_rng(2)
    right = 0
    for member in identities("train")[::100]:
        scene = render_scene(rng, [member])
        detector = build_detector(registry, "vlm", backbone=lambda: backbone)
        assert isinstance(detector, GroundingDetector)
        detector.prompts = (member.phrase,)
        found = detector.propose(Image.fromarray(scene.image))
        right += any(overlap(proposal.box, scene.objects[0].box)[0] >= 0.5 for proposal in found)
        assert all(proposal.label == member.phrase for proposal in found)
    assert right >= 5
    with pytest.raises(OptionError, match="there is no captioning model here"):
        build_detector(registry, "vlm")


def test_detectors_get_the_categories_of_the_database(model: Path, tmp_path: Path, registry: PluginRegistry) -> None:
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        with database.writing() as connection:
            for number, category in enumerate(("dog", "bag", "dog", "")):
                sql = "INSERT INTO concepts (name, info, category, created) VALUES (?, '', ?, '')"
                connection.execute(sql, (f"c{number}", category))
        detector = build_detector(registry, str(model), database, device="cpu")
        assert isinstance(detector, ZeroShotDetector)
        assert detector.prompts == ("dog", "bag")
        assert build_detector(registry, "grid", database, device="cpu").propose(noise())


def test_the_default_detector_is_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        assert pick_detector(database, photographs=True)[0] == "grid"
        database.put_setting("encoder", "ViT-L-14-336:openai")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        assert pick_detector(database)[0] == "grid"
        assert pick_detector(database, photographs=True)[0] == "vlm"
        snapshot = tmp_path / "cache/models--IDEA-Research--grounding-dino-tiny/snapshots/abc"
        snapshot.mkdir(parents=True)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs/main").write_text("abc")
        for file in ("config.json", "model.safetensors"):
            (snapshot / file).write_text("{}")
        monkeypatch.setattr(zero_shot, "cached", lambda name: _cached(name, tmp_path / "cache"))
        assert pick_detector(database, photographs=True) == (
            "grounding-dino",
            "IDEA-Research/grounding-dino-tiny is on this machine",
        )


def _cached(name: str, cache: Path) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json", cache_dir=cache), str)
