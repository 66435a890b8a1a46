"""cdr-harvester: every call detail record of a voice API, exactly once, in Parquet.

    import harvester

    with harvester.simulate(ids=300) as vendor:
        config = harvester.load_config(
            overrides={"vendor.base_url": vendor.base_url, "output.dir": "out"}
        )
        result = harvester.run(config, vendor.secrets, ids=vendor.ids)
    table = harvester.open_output("out").dataset().to_table()

The names below are the library (docs/library.md); everything else may change without notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harvester.version import __version__

if TYPE_CHECKING:
    from harvester.api import (
        Counts,
        Event,
        Output,
        RunResult,
        Vendor,
        load_config,
        open_output,
        plan,
        reconcile,
        refetch,
        run,
        run_async,
        simulate,
        verify,
    )
    from harvester.config import Config, Secrets
    from harvester.errors import (
        AlreadyRunning,
        BudgetReached,
        ConfigError,
        HarvesterError,
        Interrupted,
        SourceError,
        StoreError,
        UsageError,
        VendorRefused,
        VendorUnavailable,
    )

# Where each name lies.  They are imported when they are first used: pyarrow and an event loop
# are not worth waiting for before `harvester --help`.
_HOMES = {
    "harvester.api": (
        "Counts Event Output RunResult Vendor load_config open_output plan reconcile refetch "
        "run run_async simulate verify"
    ),
    "harvester.config": "Config Secrets",
    "harvester.errors": (
        "AlreadyRunning BudgetReached ConfigError HarvesterError Interrupted SourceError "
        "StoreError UsageError VendorRefused VendorUnavailable"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AlreadyRunning",
    "BudgetReached",
    "Config",
    "ConfigError",
    "Counts",
    "Event",
    "HarvesterError",
    "Interrupted",
    "Output",
    "RunResult",
    "Secrets",
    "SourceError",
    "StoreError",
    "UsageError",
    "Vendor",
    "VendorRefused",
    "VendorUnavailable",
    "__version__",
    "load_config",
    "open_output",
    "plan",
    "reconcile",
    "refetch",
    "run",
    "run_async",
    "simulate",
    "verify",
]


def __getattr__(name: str) -> object:
    """See PEP 562."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """See PEP 562."""
    return sorted(__all__)
