"""`repic data`: training records from public data sets, files of other tools, and data of one's own."""

from __future__ import annotations

from repic_cli.commands import _data_build, _data_exchange, _data_look
from repic_cli.commands._data import app

__all__ = ["app"]

_PARTS = (_data_build, _data_exchange, _data_look)
"""Each puts its commands into `app` when it is imported; the order of the help is that of the imports."""
