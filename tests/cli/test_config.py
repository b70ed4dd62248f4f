"""The run configuration: layers, types, round trips, and mistakes that name their culprit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic_cli.config import RunConfig, known_keys, load_config, preset_names, resolve
from repic_cli.toml_text import to_toml
from repic_plugins.errors import OptionError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def message(*args: Any, **options: Any) -> str:
    """The error of a configuration that must not resolve: one line."""
    with pytest.raises(OptionError) as error:
        resolve(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_presets_that_ship() -> None:
    assert preset_names() == ["paper", "tiny"]
    assert resolve().preset == "tiny"


def test_paper_preset_is_the_papers_run() -> None:
    config = resolve("paper")
    assert config.model.name == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (64, 128, 0.05)
    train = config.train
    assert (train.num_generations, train.beta, train.learning_rate, train.epochs) == (8, 0.04, 1e-5, 2)
    assert (train.per_device_batch_size, train.gradient_accumulation, train.bf16) == (1, 2, True)
    assert (config.data.count, config.data.seed, train.max_prompt_length) == (2000, 2024, 1024)
    assert config.rewards.options == {"ict": {"min_chars": 100}}
    assert train.max_steps is None
    assert config.check_batch(processes=8) == 2


def test_tiny_preset_fits_one_process() -> None:
    assert resolve("tiny").check_batch() == 8


def test_precedence(tmp_path: Path) -> None:
    """preset < file < --set < option, each seen alone and together."""
    file = write(tmp_path, "run.toml", "[train]\nbeta = 0.1\nseed = 1\nmax_steps = 5\n")
    config = resolve("tiny", file, ["train.seed=2", "train.max_steps=6"], {"train.max_steps": 7, "output": None})
    assert (config.train.beta, config.train.seed, config.train.max_steps) == (0.1, 2, 7)
    assert config.train.learning_rate == resolve("tiny").train.learning_rate
    assert config.output is None


def test_preset_of_the_file_counts_unless_one_is_given(tmp_path: Path) -> None:
    file = write(tmp_path, "run.toml", 'preset = "paper"\n')
    assert resolve(None, file).preset == "paper"
    assert resolve(None, file).lora.dropout == 0.05
    assert resolve("tiny", file).preset == "tiny"
    assert resolve("tiny", file).lora.dropout == 0


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    toml = write(
        tmp_path, "run.toml", '[train]\nlearning_rate = 1e-5\nmax_steps = "none"\n[lora]\ntargets = ["q_proj"]\n'
    )
    yaml = write(
        tmp_path, "run.yaml", "train.learning_rate: 1e-5\ntrain: {max_steps: null}\nlora:\n  targets: [q_proj]\n"
    )
    assert resolve(None, toml) == resolve(None, yaml)
    assert resolve(None, yaml).train.learning_rate == 1e-5


def test_empty_yaml_is_no_change(tmp_path: Path) -> None:
    assert resolve(None, write(tmp_path, "run.yml", "# nothing\n")) == resolve()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("train.learning_rate=3e-4", lambda c: c.train.learning_rate == 3e-4),
        ("train.max_steps=none", lambda c: c.train.max_steps is None),
        ("train.bf16=true", lambda c: c.train.bf16 is True),
        ("train.bf16 = no", lambda c: c.train.bf16 is False),
        ("train.report_to=wandb,tensorboard", lambda c: c.train.report_to == ("wandb", "tensorboard")),
        ("train.report_to=none", lambda c: c.train.report_to == ()),
        ("lora.targets=[\"q_proj\"]", lambda c: c.lora.targets == ("q_proj",)),
        ("model.name=7", lambda c: c.model.name == "7"),
        ("model.name=\"a b\"", lambda c: c.model.name == "a b"),
        ("model.name=a=b", lambda c: c.model.name == "a=b"),
        ("model.adapter=None", lambda c: c.model.adapter is None),
        ("data.mix.caption=0.1", lambda c: c.data.mix == {"oct": 0.25, "vlt": 0.25, "ict": 0.5, "caption": 0.1}),
        ("data.mix={ict = 1}", lambda c: c.data.mix == {"ict": 1}),
        ("data.references={1 = 1}", lambda c: c.data.references == {1: 1}),
        ("rewards.selection=oct,length=0.2", lambda c: c.rewards.names == ("oct", "length")),
        ("rewards.selection=[\"oct\", \"vlt\"]", lambda c: c.rewards.selection == "oct,vlt"),
        ("rewards.selection={oct = 1, length = 0.2}", lambda c: c.rewards.selection == "oct=1,length=0.2"),
        ("rewards.options.ict.mode=paper", lambda c: "ict.mode=paper" in c.rewards.option_lines()),
        ("output=runs/a", lambda c: c.output == Path("runs/a")),
    ],
)  # fmt: skip
def test_set_reads_the_value_by_the_keys_type(text: str, read: Any) -> None:
    assert read(resolve(sets=[text]))


def test_a_files_mix_replaces_the_presets(tmp_path: Path) -> None:
    file = write(tmp_path, "run.toml", "[data.mix]\nict = 1\n[data.references]\n2 = 1\n")
    config = resolve(None, file)
    assert config.data.mix == {"ict": 1}
    assert config.data.references == {2: 1}


def test_a_files_reward_options_join_the_presets(tmp_path: Path) -> None:
    file = write(tmp_path, "run.toml", '[rewards.options.ict]\nmode = "paper"\n')
    assert resolve("paper", file).rewards.options == {"ict": {"min_chars": 100, "mode": "paper"}}


@pytest.mark.parametrize("selection", ["oct,vlt", "oct,length=0.2", ["oct"]])
def test_preset_options_of_rewards_that_are_not_selected_go(selection: Any) -> None:
    assert resolve("paper", overrides={"rewards.selection": selection}).rewards.options == {}


def test_users_options_stay_even_if_the_reward_is_not_selected() -> None:
    """So that a misspelt reward is found, not swallowed."""
    config = resolve("paper", sets=["rewards.selection=oct", "rewards.options.itc.min_chars=5"])
    assert config.rewards.option_lines() == ["itc.min_chars=5"]


def test_users_epochs_are_not_cut_by_the_presets_steps() -> None:
    assert resolve("tiny", sets=["train.epochs=2"]).train.max_steps is None
    assert resolve("tiny", sets=["train.epochs=2"], overrides={"train.max_steps": 4}).train.max_steps == 4


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("train.learning_rte=1", "did you mean train.learning_rate?"),
        ("max_steps=1", "did you mean train.max_steps?"),
        ("trian.beta=1", "did you mean train"),
        ("lora.rank=1", "lora."),
        ("xyzzy=1", "there are data, lora, model"),
        ("train.qqqqqq=1", "there are train.max_steps"),
    ],
)
def test_unknown_key_names_its_source_and_the_closest_key(text: str, hint: str) -> None:
    error = message(sets=[text])
    assert f"(--set {text})" in error
    assert hint in error


@pytest.mark.parametrize(("name", "text"), [("a.toml", "[train]\nbata = 1\n"), ("a.yaml", "train:\n  bata: 1\n")])
def test_unknown_key_in_a_file_names_the_file(tmp_path: Path, name: str, text: str) -> None:
    file = write(tmp_path, name, text)
    error = message(None, file)
    assert str(file) in error
    assert "did you mean train.beta?" in error


@pytest.mark.parametrize(
    "text",
    [
        "train.beta=abc", "train.beta=-1", "train.beta=nan", "train.learning_rate=inf", "train.max_steps=0",
        "train.bf16=7", "train.loss_type=ppo", "train.num_generations=1", "train.seed=-1", "train.warmup=1.5",
        "lora.dropout=1",
        "lora.targets=[]", "model.device=gpu", "model.dtype=int4", "model.name=", "data.mix.oct=-1",
        "data.mix={oct = 0}", "data.references.5=1", "data.references.x=1", "data.count=1.5",
        "rewards.timeout=0", "rewards.on_error=ignore",
        "train=3", "train.beta.x=1", "output.x=1",
    ],
)  # fmt: skip
def test_bad_value_names_its_key_and_source(text: str) -> None:
    error = message(sets=[text])
    assert error.startswith(text.split(".")[0].split("=")[0])
    assert f"(--set {text})" in error


def test_bad_option_value_is_the_command_lines() -> None:
    assert message(overrides={"train.max_steps": 0}).endswith("(the command line)")


@pytest.mark.parametrize("text", ["train.beta", "=1", "train..beta=1", "train beta=1", "lora.targets=[1,", ""])
def test_set_that_is_not_key_and_value(text: str) -> None:
    assert message(sets=[text]).startswith(f"--set {text}: ")


def test_unknown_preset() -> None:
    assert message("tinny") == "unknown preset 'tinny'; did you mean tiny?"
    assert "there are paper, tiny" in message("xyzzy")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "a = "), ("a.toml", "a = 1\na = 2"), ("a.yaml", "a: [1"), ("a.yaml", "- 1"),
        ("a.yaml", "!!python/object:os.x {}"), ("a.json", "{}"), ("a.yaml", "a: 2024-99-99"),
        ("a.toml", "preset = [1]"),
        ("a.toml", "x = '" + "y" * 1_000_001 + "'"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_read_as_configuration(tmp_path: Path, name: str, text: str) -> None:
    file = write(tmp_path, name, text)
    error = message(None, file)
    assert str(file) in error or "preset" in error


def test_missing_and_binary_files(tmp_path: Path) -> None:
    assert "No such file" in message(None, tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in message(None, tmp_path / "b.toml")
    (tmp_path / "d.toml").mkdir()
    assert str(tmp_path / "d.toml") in message(None, tmp_path / "d.toml")


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_written_configuration_reads_back_equal(tmp_path: Path, preset: str) -> None:
    config = resolve(
        preset, sets=["model.adapter=a b", "rewards.options.ict.mode=paper", 'data.templates="t\\"x.toml"']
    )
    file = write(tmp_path, "config.toml", config.to_toml())
    assert load_config(file) == config
    assert resolve(None, file) == config


def test_written_configuration_is_complete() -> None:
    """Every key stands in it, so that a later version's defaults change nothing."""
    written = tomllib.loads(resolve().to_toml())
    for key in known_keys():
        table = written
        for part in key.split("."):
            table = table[part]


def test_configuration_is_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().preset = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sets", "processes", "prompts"),
    [(["train.per_device_batch_size=64"], 1, 8), (["train.per_device_batch_size=4"], 4, 2)],
)
def test_prompts_of_a_step(sets: list[str], processes: int, prompts: int) -> None:
    assert resolve(sets=sets).check_batch(processes) == prompts


def test_step_that_does_not_make_groups_says_what_would() -> None:
    with pytest.raises(OptionError, match=r"gradient_accumulation=8"):
        resolve("paper").check_batch(processes=1)


scalars = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
tables = st.recursive(
    st.dictionaries(st.text(min_size=1), st.one_of(scalars, st.lists(scalars)), max_size=4),
    lambda inner: st.dictionaries(st.text(min_size=1), st.one_of(scalars, inner), max_size=4),
    max_leaves=8,
)


@given(tables)
def test_toml_writer_is_read_back_by_the_standard_library(values: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(values)) == values


def test_toml_writer_refuses_what_toml_has_not() -> None:
    with pytest.raises(TypeError, match="cannot write set"):
        to_toml({"a": {1, 2}})


@pytest.mark.parametrize("selection", ["oct,ict=2", ["oct", "ict=2"], {"oct": 1, "ict": 2}])
def test_a_preset_keeps_its_options_of_selected_rewards_however_they_are_written(selection: object) -> None:
    config = resolve("paper", overrides={"rewards.selection": selection})
    assert config.rewards.options == {"ict": {"min_chars": 100}}
    assert resolve("paper", overrides={"rewards.selection": ["oct"]}).rewards.options == {}
    with pytest.raises(OptionError, match=r"rewards\.selection: "):
        resolve("paper", overrides={"rewards.selection": 5})


def test_preset_is_no_setting() -> None:
    with pytest.raises(OptionError, match="--set preset=paper: give --preset paper"):
        resolve(sets=["preset=paper"])


@pytest.mark.parametrize("text", ["train: 3", "train:", "data: {mix: oct}"])
def test_a_value_in_place_of_a_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(OptionError, match=r"^(train|data\.mix): must be a table of keys and values"):
        resolve(config_file=tmp_path / "c.yaml")


def test_aliases_cannot_swell_a_file(tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").write_text("a: &a {x: *a}")
    with pytest.raises(OptionError, match="nested too deeply"):
        resolve(config_file=tmp_path / "endless.yaml")
    levels = [f"l{n}: &l{n} {{{', '.join(f'k{k}: *l{n - 1}' for k in range(10))}}}" for n in range(1, 10)]
    (tmp_path / "swollen.yaml").write_text("\n".join(["l0: &l0 {x: 1}", *levels]))
    with pytest.raises(OptionError, match="more than 1,000 keys"):
        resolve(config_file=tmp_path / "swollen.yaml")
