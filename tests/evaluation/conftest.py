"""What tests of `repic eval` share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from repic_cli.app import main


@pytest.fixture
def repic(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call
