"""The soak takes minutes: it runs when it is asked for, by marker or by path, and not otherwise."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the soak unless `-m soak` or its path was given."""
    asked_for = config.option.markexpr or any("soak" in argument for argument in config.args)
    if asked_for:
        return
    soaks = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in soaks]
    if soaks:
        config.hook.pytest_deselected(items=soaks)
