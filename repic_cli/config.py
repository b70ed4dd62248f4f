"""The configuration of a training run, put together from its layers.

Later layers win: a preset, `--config FILE` (TOML or YAML), `--set key=value`, and the command's own options. An unknown
key or a bad value in any of them is one line that names the layer and, for a key, the closest one that exists. What the
values are stands in `repic_cli.config_sections`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from repic_cli.config_sections import RunConfig
from repic_plugins.errors import OptionError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Layers", "RunConfig", "known_keys", "load_config", "preset_names", "resolve"]

PRESETS = Path(__file__).with_name("presets")
_REPLACED = ("data.mix", "data.references", "rewards.selection")
"""Tables whose entries only make sense together: a file that gives one replaces it."""
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_FILE = 1_000_000
_MAX_KEYS = 1_000


def preset_names() -> list[str]:
    """The presets that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def resolve(
    preset: str | None = None,
    config_file: str | Path | None = None,
    sets: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration from its layers: preset < `config_file` < `sets` (`key=value`) < `overrides`.

    `overrides` maps dotted keys to values; None means that the option was not given. Without `preset` the file's own
    `preset` key counts, else it is `tiny`. Raises `OptionError` for an unknown key, a bad value or an unreadable file.
    """
    given = _read(Path(config_file)) if config_file is not None else {}
    name = preset or given.get("preset") or "tiny"
    layers = Layers()
    layers.merge(_read_preset(name), f"preset {name}")
    layers.merge({**given, "preset": name}, str(config_file))
    for text in sets:
        key, value = _parse_set(text)
        if key == "preset":  # its values have been read by now
            raise OptionError(f"--set {text}: give --preset {value}")
        layers.put(key, value, f"--set {text}")
    for key, value in (overrides or {}).items():
        if value is not None:
            layers.put(key, value, "the command line")
    return layers.build()


def load_config(path: str | Path) -> RunConfig:
    """Read a complete configuration as `RunConfig.to_toml` writes it (a run folder's own). No preset is applied."""
    layers = Layers()
    layers.merge(_read(Path(path)), str(path))
    return layers.build()


class Layers:
    """Nested values, and for each where it came from."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def merge(self, values: Mapping[str, Any], source: str) -> None:
        """Put a file's values over what is there."""
        for key in _REPLACED:
            section, name = key.split(".")
            if isinstance(values.get(section), Mapping) and name in values[section]:
                self.values.get(section, {}).pop(name, None)
        for path, value in _leaves(values):
            self._set(path, value, source)

    def put(self, key: str, value: Any, source: str) -> None:
        """Set one dotted key."""
        self._set(tuple(key.split(".")), value, source)

    def build(self) -> RunConfig:
        """Validate. Raises `OptionError`, one line, for the first thing that is wrong."""
        self._drop_unused_options()
        self._prefer_epochs()
        try:
            return RunConfig.model_validate(self.values)
        except ValidationError as error:
            # Unknown keys first: a misspelt key often makes a second error elsewhere.
            details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
            raise OptionError(self._describe(details[0])) from error

    def _set(self, path: tuple[str, ...], value: Any, source: str) -> None:
        table = self.values
        for part in path[:-1]:
            below = table.get(part)
            if not isinstance(below, dict):
                below = table[part] = {}
            table = below
        table[path[-1]] = value
        self.sources[".".join(path)] = source

    def _drop_unused_options(self) -> None:
        """A preset's options of rewards that the user did not select are none of the user's business."""
        rewards = self.values.get("rewards")
        options = rewards.get("options") if isinstance(rewards, dict) else None
        if not isinstance(rewards, dict) or not isinstance(options, dict):
            return
        selection = rewards.get("selection", "")  # text, or in a file a list or a table of weights
        text = ",".join(map(str, selection)) if isinstance(selection, list | tuple | dict) else str(selection)
        selected = re.findall(r"[^,=\s]+(?=\s*(?:=|,|$))", text)
        for name in [name for name in options if name not in selected]:
            mine = [key for key in self.sources if key.startswith(f"rewards.options.{name}.")]
            if all(self.sources[key].startswith("preset ") for key in mine):
                del options[name]

    def _prefer_epochs(self) -> None:
        """A number of epochs that the user gave is not to be cut short by the preset's number of steps."""
        asked = not self.sources.get("train.epochs", "preset ").startswith("preset ")
        if asked and self.sources.get("train.max_steps", "").startswith("preset "):
            del self.values["train"]["max_steps"]

    def _describe(self, detail: ErrorDetails) -> str:
        parts = [str(part) for part in detail["loc"] if part != "[key]"]
        key = ".".join(parts)
        source = self._source(parts)
        if detail["type"] == "extra_forbidden":
            return f"unknown key {key!r} ({source}){_hint(key)}"
        message = detail["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if detail["type"] in ("model_type", "dict_type"):
            message = "must be a table of keys and values"
        shown = "" if isinstance(detail["input"], Mapping) else f", not {detail['input']!r:.80}"
        return f"{key}: {message}{shown} ({source})"

    def _source(self, parts: list[str]) -> str:
        """Where the value at a location came from: its own entry, or the last one inside or around it."""
        for end in range(len(parts), 0, -1):
            key = ".".join(parts[:end])
            found = [source for name, source in self.sources.items() if name == key or name.startswith(key + ".")]
            if found:
                return found[-1]
        return "configuration"


def known_keys(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """All dotted keys, in the order of the sections."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def _hint(key: str) -> str:
    """`; did you mean ...?`, or the keys that there are."""
    keys = known_keys()
    section, _, last = key.rpartition(".")
    tables = sorted({known.split(".")[0] for known in keys})
    lasts = {known.split(".")[-1]: known for known in reversed(keys)}
    close = [lasts[last]] if last in lasts else get_close_matches(key, [*keys, *tables], n=1, cutoff=0.7)
    close = close or [lasts[match] for match in get_close_matches(last, lasts, n=1)]
    if close:
        return f"; did you mean {close[0]}?"
    inside = [known for known in keys if section and known.startswith(f"{section}.")]
    return f"; there are {', '.join(inside or tables)}"


def _parse_set(text: str) -> tuple[str, Any]:
    """`train.beta=0.1` -> key and value. Lists and tables are TOML; all else is text that the key's type reads."""
    key, equals, raw = text.partition("=")
    key, raw = key.strip(), raw.strip()
    if not equals or not _KEY.fullmatch(key):
        raise OptionError(f"--set {text}: give key=value with a dotted key, for instance --set train.beta=0.1")
    if raw[:1] in ("[", "{", '"'):
        try:
            return key, tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise OptionError(f"--set {text}: the value is not valid TOML ({error})") from error
    return key, raw


def _read_preset(name: str) -> dict[str, Any]:
    names = preset_names()
    if name not in names:
        close = get_close_matches(str(name), names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise OptionError(f"unknown preset {name!r}; {hint}")
    return _read(PRESETS / f"{name}.toml")


def _read(path: Path) -> dict[str, Any]:
    """A TOML or YAML file (by its ending) as nested values; dotted YAML keys are spread out."""
    kind = path.suffix.lower()
    if kind not in (".toml", ".yaml", ".yml"):
        raise OptionError(f"{path}: a configuration file ends in .toml, .yaml or .yml")
    try:
        if path.stat().st_size > _MAX_FILE:
            raise OptionError(f"{path}: too large for a configuration file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{path}: cannot read the configuration: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: the configuration is not UTF-8 text") from error
    values = _parse_toml(path, text) if kind == ".toml" else _parse_yaml(path, text)
    nested = Layers()
    try:
        # YAML's aliases let a few lines stand for billions of keys, or for endless ones.
        for number, (keys, value) in enumerate(_leaves(values)):
            if number >= _MAX_KEYS:
                raise OptionError(f"{path}: more than {_MAX_KEYS:,} keys")
            nested.put(".".join(keys), value, str(path))
    except RecursionError as error:
        raise OptionError(f"{path}: nested too deeply") from error
    return nested.values


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path}: not valid TOML: {error}") from error


def _parse_yaml(path: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or str(error)
        raise OptionError(f"{path}: not valid YAML{where}: {what}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise OptionError(f"{path}: a configuration file holds keys and values, not a {type(values).__name__}")
    return values


def _leaves(values: Mapping[Any, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value that is no table, with its path. An empty table is a value too."""
    for key, value in values.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, here)
        else:
            yield here, value
