"""`harvester refetch --dry-run`: which ids of the data set it would fetch again; sends nothing.

The list is made as the run would make it, in a folder of its own, and thrown away.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec

from harvester.config import Config
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.inputs.discover import find
from harvester.inputs.fingerprint import fingerprint
from harvester.inputs.worklist.spec import Chosen
from harvester.pipeline.run.belonging import own_settings
from harvester.pipeline.run.prepare_list import Places, draft_list
from harvester.pipeline.run.refetch import Ordered, key_of, selection_of
from harvester.pipeline.run.requests import RefetchRequest
from harvester.state import work_lists
from harvester.state.belongs import data_version
from harvester.state.read_only import looking
from harvester.storage.output import Output


class Refetchable(msgspec.Struct, frozen=True, kw_only=True):
    """What a refetch would do."""

    again: int
    """Ids that it would fetch, those of an earlier refetch that are pending included."""
    pending: int
    chosen: Chosen


def refetchable(config: Config, request: RefetchRequest) -> Refetchable:
    """The ids that `request` names.

    Raises SourceError, StoreError, AlreadyRunning, ConfigError.
    """
    output = Output(Path(config.output.dir))
    with tempfile.TemporaryDirectory(prefix="harvester-refetch-") as folder:
        scratch = Path(folder)
        files = None
        if request.ids:
            files = tuple(find(request.ids, spool=scratch))
        with looking(output, "refetch --dry-run") as db:
            config = own_settings(db, output, config, rebind=False)
            current = work_lists.current_list(db)
            pending = current.pending_again if current else 0
            ordered = work_lists.refetched_for(db, Ordered)
            ids_key = "" if files is None else fingerprint(files, config.input.column, {}).key
            if pending and ordered and ordered.key == key_of(request, ids_key):
                return Refetchable(again=pending, pending=pending, chosen=ordered.chosen)
            now_ms = time.time_ns() // 1_000_000
            kind = of_version(data_version(db, GROUP_RECORD.version))
            selection = selection_of(db, output, kind, request, files, now_ms, "dry-run")
            places = Places(
                scratch / "list.parquet",
                scratch / "ids.parquet",
                scratch / "bad_ids.jsonl",
                scratch,
                output.lists,
            )
            result = draft_list(
                db, config.input, config.plan, [], places, data_glob=None, selection=selection
            )
    assert result.chosen is not None, "there was a selection"
    return Refetchable(again=result.again, pending=pending, chosen=result.chosen)
