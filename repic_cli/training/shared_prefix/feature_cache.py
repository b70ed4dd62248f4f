"""What the frozen vision tower made of pictures, kept from epoch to epoch: in memory, or as files in a folder.

A run that goes on after an interruption finds other pictures in its cache than one that was not interrupted, so the
tower's batches differ and the last bits with them: therefore it is off unless it is asked for.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from repic_cli.files import write_file
from repic_cli.training.shared_prefix.pictures import Features, Limited
from repic_plugins.errors import RepicError

_ROWS = 4


def tower_identity(tower: Any) -> bytes:
    """A hash of a vision tower: names, shapes, types and the first rows of all weights."""
    digest = hashlib.blake2b(digest_size=16, person=b"repic-tower")
    for name, weight in sorted(tower.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach()[:_ROWS].to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.digest()


class FeatureCache:
    """Features by the key of their picture (which tells pixels and processor) and the tower, up to `limit` bytes.

    `folder` None: in memory, on the device where they were made. Files that cannot be read are made again.
    """

    def __init__(self, limit: int, folder: Path | None = None) -> None:
        self._limit, self._folder = limit, folder
        self._kept = Limited(limit, lambda features: features.bytes)
        self._towers: dict[int, bytes] = {}
        self.found = 0

    def find(self, tower: Any, key: bytes) -> Features | None:
        """The features of a picture, None if they are not there."""
        name = self._name(tower, key)
        features: Features | None = self._kept.find(name) if self._folder is None else self._read(name, tower)
        self.found += features is not None
        return features

    def keep(self, tower: Any, key: bytes, features: Features) -> None:
        """Keep features; those used longest ago go until there is room."""
        name = self._name(tower, key)
        if self._folder is None:
            self._kept.keep(name, features)
        elif features.bytes <= self._limit:
            self._write(self._folder, name, features)

    def _name(self, tower: Any, key: bytes) -> bytes:
        if id(tower) not in self._towers:
            self._towers[id(tower)] = tower_identity(tower)
        how = torch.get_autocast_dtype(tower.device.type) if torch.is_autocast_enabled(tower.device.type) else None
        return hashlib.blake2b(self._towers[id(tower)] + key + repr(how).encode(), digest_size=16).digest()

    def _read(self, name: bytes, tower: Any) -> Features | None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(name)
        try:
            parts = load(path.read_bytes())
            os.utime(path, ns=(time.time_ns(),) * 2)  # used: it goes last
            tokens = parts.pop("tokens").to(tower.device)
        except (OSError, SafetensorError, KeyError):
            return None
        return Features(tokens, tuple(parts[f"{layer}"].to(tower.device) for layer in range(len(parts))))

    def _write(self, folder: Path, name: bytes, features: Features) -> None:
        from safetensors.torch import save

        parts = {"tokens": features.tokens, **{f"{layer}": part for layer, part in enumerate(features.deep)}}
        content = save({key: part.cpu().contiguous() for key, part in parts.items()})
        try:
            write_file(self._path(name), content)
        except OSError as error:
            why = error.strerror or error
            raise RepicError(f"train.feature_cache_folder: {folder}: cannot be written to: {why}") from error
        files = []
        for path in folder.glob("*.safetensors"):
            with suppress(OSError):  # another process takes files away too
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, name: bytes) -> Path:
        assert self._folder is not None
        return self._folder / f"{name.hex()}.safetensors"
