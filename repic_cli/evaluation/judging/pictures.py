"""Pictures for the judge: upright, of bounded size, as JPEG without any metadata (so without places and times)."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from repic_cli.captioning.output import content_hash
from repic_cli.data.images import open_picture, picture_size

QUALITY = 85


@dataclass(frozen=True)
class JudgePicture:
    """A picture file that is shown with its longer side at most `max_side` pixels."""

    path: Path
    max_side: int

    @cached_property
    def mark(self) -> str:
        """What stands for the picture in the key of a request: its bytes on disk and how it is made ready.

        Not the JPEG: another version of the encoder would make another, and everything would be paid anew.
        """
        return f"picture:{content_hash(self.path)}:{self.max_side}:{QUALITY}"

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels as it is sent. Raises `DataError` like `picture_size`."""
        width, height = picture_size(self.path)
        scale = min(1.0, self.max_side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def address(self) -> str:
        """The picture itself as a data URL. Raises `DataError` like `open_picture`."""
        from PIL.Image import Resampling

        image = open_picture(self.path)
        if image.size != self.size:
            image = image.resize(self.size, Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
