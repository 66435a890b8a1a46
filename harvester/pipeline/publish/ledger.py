"""What publications need of whoever holds the state database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


class Ledger(Protocol):
    """Functions of (database, …), one at a time."""

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401 - those of `function`
        **kwargs: Any,  # noqa: ANN401
    ) -> Future[Any]:
        """Run `function(db, *args)` on the ledger's thread."""
        ...
