"""`harvester publish`: the journal into the data set, without a run and without the vendor.

Theory of operation.  The output is opened as a run opens it, so start is recovery here as well: a
publication past its commit point is finished, and the control totals of a run that was killed are
closed before its rows move.  Then ranges of the journal are published until none is left, by the
same steps as in a run.  The first signal ends it before the next commit point, the second at once;
neither loses anything.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import msgspec

from harvester.config import Config
from harvester.errors import Interrupted, Terminated
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.publish.oddities import Oddities
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.pipeline.run.messages import tell_oddities, tell_recovery
from harvester.pipeline.run.recovery import Opened, open_output
from harvester.pipeline.run.requests import NEVER, StopCheck, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.state import publications
from harvester.state.database import store_errors
from harvester.state.lock import OutputLock
from harvester.state.writer import InlineLedger

_LOCK = partial(OutputLock, command="publish")


class PublishedAll(msgspec.Struct, frozen=True, kw_only=True):
    """What `harvester publish` wrote."""

    output: str
    records: int
    files: int
    bytes: int
    """Of Parquet."""
    in_journal: int
    """Records that wait still: none, unless it was interrupted."""
    finished_publications: int
    """Publications that an earlier run left half done."""
    odd: Oddities


_STOPPED = (
    "stopped on request; what is not published yet is safe in the journal: run `harvester publish` "
    "again, or let the next run publish it."
)


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def publish_journal(config: Config, events: Events, stop: StopSource = NEVER) -> PublishedAll:
    """Publish all that waits in the journal; sends nothing.

    Raises AlreadyRunning, StoreError, ConfigError, and Interrupted when a signal ended it.
    """
    with stop.watched() as asked_to_stop, open_output(config, rebind=None, lock=_LOCK) as opened:
        config = opened.config
        with store_errors(opened.output.database):
            tell_recovery(opened, events)
            for killed in opened.killed_runs:
                close_killed(opened, killed)
            done = list(_published(opened, config, asked_to_stop))
            odd = tell_oddities(opened.db, events).odd
            left, _ = publications.journal_size(opened.db)
        reason = asked_to_stop()
        if reason is not None and left:
            raise reason
        return PublishedAll(
            output=str(opened.output.root),
            records=sum(one.records for one in done),
            files=sum(one.files for one in done),
            bytes=sum(one.bytes for one in done),
            in_journal=left,
            finished_publications=opened.finished_publications,
            odd=odd,
        )


def _published(opened: Opened, config: Config, stop: StopCheck) -> Iterator[Published]:
    publisher = Publisher(
        InlineLedger(opened.db, opened.output.database),
        opened.output,
        config.output,
        config.vendor.account,
        opened.state_id,
        identity=opened.identity,
        kind=opened.kind,
    )
    while stop() is None and (done := publisher.publish(lambda: stop() is not None)) is not None:
        yield done
