"""Errors that end a command with one clear line and an exit code of their own.

Each message is complete: it names the file, option or plugin, and says what to do. `repic` prints it as
`error: …` on stderr; `repic --debug` shows the traceback too. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class RepicError(Exception):
    """Base of all errors that a user can cause and understand."""

    exit_code: int = 1


class OptionError(RepicError):
    """A bad option or configuration value (exit code 2)."""

    exit_code = 2


class PluginError(RepicError):
    """A plugin that is broken, unknown or registered twice (exit code 3)."""

    exit_code = 3


class RewardError(RepicError):
    """A reward that returned NaN or a wrong length, raised, or took too long (exit code 4)."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        reward: str = "",
        distribution: str = "",
        sample_id: str = "",
    ) -> None:
        super().__init__(message)
        self.reward = reward
        self.distribution = distribution
        self.sample_id = sample_id


class DataError(RepicError):
    """Records or pictures that cannot be used (exit code 5)."""

    exit_code = 5


class DatabaseError(RepicError):
    """A concept database that is missing, empty or damaged (exit code 6)."""

    exit_code = 6


class ModelError(RepicError):
    """A model or adapter that cannot be loaded or does not fit (exit code 7)."""

    exit_code = 7


class Interrupted(RepicError):
    """The user stopped the command; work done so far is saved (exit code 130)."""

    exit_code = 130
