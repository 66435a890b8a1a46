"""How soon things begin: the first request of a known input, and `harvester --help`."""

from __future__ import annotations

from bench.contestants import environ, ours
from bench.ids import id_file
from bench.measure import measure
from bench.places import OURS, fresh_out, work
from bench.stats import spread
from bench.tables import show
from bench.upstream import upstream

_BUDGET_USED_UP = 8  # see harvester/errors.py
_HEADS = ("what", "value", "times")


def known_input(count: int, rounds: int) -> None:
    """Print the seconds from exec to the first request that the upstream sees.

    The list is made first, by a run that ends before it asks for anything much.
    """
    ids, out = id_file(work(), count), fresh_out("known")
    with upstream(logged=True) as server:
        run = [*ours("aiohttp", rate="50").filled(ids, server.fast, out), "--max-duration"]
        _until_used_up([*run, "1s"])
        waits = []
        for _ in range(rounds):
            began = _until_used_up([*run, "4s"])
            waits.append(min(at for at in server.arrivals() if at > began) - began)
    show(
        "Start to first request (the first second after the lock is silent by promise)",
        _HEADS,
        [[f"known input, list of {count:,}: seconds", str(spread(waits)), str(rounds)]],
    )


def _until_used_up(command: list[str]) -> float:
    """Run until its budget is used up; the Unix time at which it was started."""
    return measure(command, environ=environ("aiohttp"), codes=[_BUDGET_USED_UP]).started_at


def help_text(rounds: int) -> None:
    """Print the CPU of `harvester --help` against a Python that only imports typer."""
    ours_ms, typers_ms, ratios = [], [], []
    for _ in range(rounds):
        typers_ms.append(1e3 * measure([OURS, "-c", "import typer"]).cpu_s)
        ours_ms.append(1e3 * measure([OURS, "-m", "harvester", "--help"]).cpu_s)
        ratios.append(ours_ms[-1] / typers_ms[-1])
    rows = [
        ["`python -c 'import typer'`: CPU ms", str(spread(typers_ms)), str(rounds)],
        ["`harvester --help`: CPU ms", str(spread(ours_ms)), str(rounds)],
        ["ratio", str(spread(ratios)), str(rounds)],
    ]
    show("`harvester --help`", _HEADS, rows)
