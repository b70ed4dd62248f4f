"""What all tests share: the coverage bar of a whole run, no network, and the test pictures that some tests need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports transformers: a test that would ask a hub has to fail at once, not after a time-out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: more threads would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# In CI the same examples every time, and no complaint about a slow machine: a red run has to mean a change.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parents[1]
COVERAGE_BAR = 95
"""Per cent of the lines of repic_rewards and repic_plugins that the whole suite has to run."""


def is_whole_run(config: pytest.Config) -> bool:
    """Whether every test is asked for: no path, no -k, -m, --lf or --deselect."""
    option = config.option
    last_failed = getattr(option, "lf", False)  # not there with `-p no:cacheprovider`
    chosen = (option.keyword, option.markexpr, last_failed, option.deselect, option.ignore, option.collectonly)
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not any(chosen)


def pytest_configure(config: pytest.Config) -> None:
    coverage = config.pluginmanager.getplugin("_cov")
    if coverage is not None and is_whole_run(config):
        coverage.options.cov_fail_under = COVERAGE_BAR
        coverage.cov_controller.cov_report = {"term-missing": "skip-covered"}


@pytest.fixture(scope="session")
def repic_pack() -> Path:
    """The folder of real pictures and databases that the developers test with; it is not part of the repository."""
    for place in (
        os.environ.get("REPIC_TEST_PACK"),
        ROOT / "shared/data/repic_pack",
        ROOT.parent / "shared/data/repic_pack",
    ):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("the pack of real pictures is not here (set REPIC_TEST_PACK to its folder)")


@pytest.fixture(scope="session")
def mini_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Qwen2.5-VL of 100,000 random weights, and the embedded model's tokenizer and processor.

    It answers with noise, in milliseconds: for tests of what happens around a model.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from repic_cli.embedded.build import make_model, make_processor, make_tokenizer

    tokenizer = make_tokenizer()
    full = make_model(tokenizer)
    config = full.config
    config.text_config.update({"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2})
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": ["full_attention"] * 2}
    config.text_config.update(heads)
    config.text_config.rope_parameters["mrope_section"] = [1] * 8
    config.vision_config.update({"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2})
    config.vision_config.update({"out_hidden_size": 32, "fullatt_block_indexes": [0, 1]})
    torch.manual_seed(3)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = full.generation_config
    folder = tmp_path_factory.mktemp("mini-model")
    model.save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)
    return folder
