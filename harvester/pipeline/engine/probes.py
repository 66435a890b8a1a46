"""Which ids to fetch as probes: a few that stand for all that are left.

Before a run believes of the vendor as a whole what its first answers say (that it knows none of
our calls, that it lets us in no more), it fetches some ids from elsewhere in its list.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from harvester.inputs.id_dates import stamp_of, stamps
from harvester.pipeline.engine.task import Task


def spread(
    portions: Iterable[list[Task]], count: int, before: datetime | None = None
) -> list[Task]:
    """At most `count` of all tasks: the youngest first, then others evenly spread, from the end.

    Young and old by the ids' own digits; those dated before `before` are passed over, and where no
    id tells its date the last one stands for the youngest.  Holds a portion and 2 * `count` tasks.
    """
    oldest = "" if before is None else stamp_of(before)
    kept: list[Task] = []
    youngest, its_stamp = None, ""
    stride, seen = 1, 0
    for portion in portions:
        fit = _fit(portion, oldest)
        for at, (task, stamp) in enumerate(fit):
            if stamp >= its_stamp:
                youngest, its_stamp = task, stamp
            if (seen + at) % stride == 0:
                kept.append(task)
                if len(kept) == 2 * count:
                    del kept[1::2]
                    stride *= 2
        seen += len(fit)
    if youngest is None or count < 1:
        return []
    others = [task for task in reversed(kept) if task is not youngest]
    wanted = min(count - 1, len(others))
    return [youngest, *(others[at * len(others) // wanted] for at in range(wanted))]


def _fit(tasks: list[Task], oldest: str) -> list[tuple[Task, str]]:
    """The tasks not dated before `oldest`, each with its stamp, "" where its id has none."""
    if not tasks:
        return []
    told = pc.fill_null(stamps(pa.array([task.voice_id for task in tasks], pa.string())), "")
    return [
        (task, stamp)
        for task, stamp in zip(tasks, told.to_pylist(), strict=True)
        if not stamp or stamp >= oldest
    ]
