"""The `repic` command and the engine behind it.

Importing this package imports nothing else: torch and friends load where they are used.
"""

__version__ = "0.1.0"
