"""What SQL can read: the files of the data set, the state database and the runs' folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from harvester.analysis.query.export_rows import kept_batches, schema_of
from harvester.analysis.query.run_table import RUN_SCHEMA, run_batch
from harvester.analysis.query.session import Records, Source
from harvester.analysis.report.data_files import DataFiles
from harvester.errors import UsageError
from harvester.state.read_only import has_state
from harvester.storage.output import Output


def records(output: Output, found: DataFiles) -> Records:
    """The files of the data set that were found."""
    files = tuple((output.cdr / part).absolute() for part in found.parts)
    return Records(files, tuple(path.absolute() for path in found.changes))


def tables(output: Output) -> Mapping[str, Source]:
    """Each of them, read when it is first named."""

    def of_state(what: str) -> Iterable[pa.RecordBatch]:
        if not has_state(output):
            raise UsageError(
                f"there is no {output.database}: only cdr and run can be queried. With the "
                "data alone, `harvester rebuild` makes it again.",
                code="state.missing",
            )
        yield from kept_batches(output, what, "sql")

    def runs() -> Iterator[pa.RecordBatch]:
        yield run_batch(output)

    return {
        "dead_letter": Source(schema_of("dead"), lambda: of_state("dead")),
        "open_call": Source(schema_of("open"), lambda: of_state("open")),
        "run": Source(RUN_SCHEMA, runs),
    }
