"""`repic db`: keep the database of personal concepts."""

from __future__ import annotations

from repic_cli.commands import _db_change, _db_exchange, _db_look, _db_search
from repic_cli.commands._db import app

__all__ = ["app"]

_PARTS = (_db_change, _db_look, _db_search, _db_exchange)
"""Each puts its commands into `app` when it is imported; the order of the help is that of the imports."""
