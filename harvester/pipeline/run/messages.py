"""What a run says while it works, one message a fact: see docs/events.md."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harvester.dataset.changes import ALARMING
from harvester.inputs.bad_line_list import BAD_IDS, keep_bad_lines, unreported_lines
from harvester.inputs.worklist.spec import ListResult
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.engine.workers import AheadFigures
from harvester.pipeline.publish.oddities import Oddities, Seen, oddities
from harvester.pipeline.run.recovery import Opened
from harvester.pipeline.run.refetch import added
from harvester.pipeline.run.summary import instant
from harvester.state import between_runs, publications, run_records
from harvester.state.values import Compared, Counters, InputRecord

_RUNS_LOOKED_AT = 100
"""For bad lines that were reported; each night has its own list of them."""
_PASS_BY_THEMSELVES = frozenset({"timeout", "reset", "torn", "too_long"})
"""Causes of failures that nobody can do anything about."""


def tell_input(
    books: InputRecord,
    events: Events,
    *,
    sources: Sequence[str],
    last_new_ids_ms: int,
    is_new: bool,
) -> None:
    """Say what was read.  `is_new`: no earlier run has said it."""
    if not books.lines:
        last_new = instant(last_new_ids_ms)
        events.message("warning", "no_ids", input=" ".join(sources), last_new_at=last_new)
    if is_new:
        events.message(
            "info",
            "input_listed",
            lines=books.lines,
            bad=books.bad,
            duplicate=books.duplicate,
            distinct=books.distinct,
            resolved_before=books.resolved_before,
            listed=books.listed,
        )
    if books.too_young:
        events.message("info", "too_young", count=books.too_young)


def tell_bad_lines(
    db: sqlite3.Connection, runs: Path, run_id: str, count: int, events: Events
) -> None:
    """Warn of bad lines that no ended run has reported; the others are counted."""
    file = keep_bad_lines(runs, run_id, count)
    last = run_records.last_runs(db, _RUNS_LOOKED_AT)
    ended = [run.id for run in last if run.exit_code is not None]
    new = unreported_lines(file, [runs / run_id / BAD_IDS for run_id in ended])
    level = "warning" if new else "info"
    events.message(level, "bad_ids", count=count, new=new, file=str(file))


def tell_chosen(result: ListResult, what: str, events: Events) -> None:
    """Say how many ids are fetched again, and which were named in vain; `what`: of which kind."""
    chosen = result.chosen
    if chosen is None:
        return
    events.message(
        "info",
        "refetch_listed",
        again=result.again,
        population=chosen.population,
        left_out=chosen.left_out,
    )
    # Of the others old ones may be left for ever, and nobody wants to hear of them each night.
    if what == "delivered" and chosen.left_out and not chosen.population:
        events.message("warning", "all_left_out", count=chosen.left_out)
    if chosen.outside:
        events.message(
            "warning", "ids_not_delivered", count=chosen.outside, ids=list(chosen.outside_ids)
        )


def tell_failures(failures: Mapping[str, str], events: Events, told: set[str]) -> None:
    """What somebody can do something about, once a run for each cause.

    `failures`: cause to what the latest said; `told`: causes that were reported, added to.
    """
    for cause, reason in failures.items():
        passes = cause in _PASS_BY_THEMSELVES and "vendor.proxy" not in reason
        if cause not in told and not passes:
            told.add(cause)
            events.message("warning", "requests_fail", cause=cause, reason=reason)


def tell_lost(lost: Sequence[tuple[int, str]], events: Events, told: set[str]) -> None:
    """Say which workers are gone, and why, each loss once; `told` as above."""
    for at, (number, reason) in enumerate(lost):
        if (name := f"worker lost: {at}") not in told:
            told.add(name)
            events.message("warning", "worker_lost", worker=number, reason=reason)


def tell_pages(
    figures: AheadFigures | None, counters: Counters, events: Events, told: set[str]
) -> None:
    """Say what comes by pages, each thing once; `told` as above."""
    if figures is None:
        return
    if _once("pages began", told):
        events.message("info", "pages_began", seed=figures.seed)
    found = figures.difference
    if found is not None and _once("pages differ", told):
        ids, columns = [found.voice_id], list(found.columns)
        events.message("warning", "pages_differ", voice_ids=ids, columns=columns, seed=figures.seed)
    if figures.refused and _once("pages refused", told):
        events.message("warning", "pages_refused", cause=figures.refused)
    if figures.is_over and _once("pages ended", told):
        events.message(
            "info",
            "pages_ended",
            records=counters.by_pages,
            requests=counters.page_requests,
            sampled=counters.sampled,
            windows=figures.windows,
            unsettled=figures.unsettled,
        )


def _once(what: str, told: set[str]) -> bool:
    """Whether it was not said yet; from now on it was.  No cause of failures is called so."""
    if what in told:
        return False
    told.add(what)
    return True


class Unreported(msgspec.Struct, frozen=True, kw_only=True):
    """What publications hold of which nobody was told yet: of this run, and of one before that was
    killed or could not finish them.
    """

    odd: Oddities
    unparsed: Mapping[str, int]
    extra: Mapping[str, int]
    presumed: int
    """Records of which the vendor named no currency."""


def tell_oddities(db: sqlite3.Connection, events: Events, odd_hangups: int = 0) -> Unreported:
    """Warn of what is odd in the records that were published; what is remembered is said once.

    `odd_hangups` are counted as answers come, since most of them stay open.
    """
    reported = between_runs.reported_publication(db)
    found = publications.notes_since(db, reported)
    notes = [note for _, note in found]
    unparsed = _sum(note.unparsed for note in notes)
    extra = _sum(note.extra for note in notes)
    odd, seen = oddities(
        sum(note.records for note in notes),
        unparsed,
        extra,
        sum(note.without_cost for note in notes),
        between_runs.fields_seen(db, Seen),
    )
    between_runs.remember_fields(db, seen, max([reported, *(number for number, _ in found)]))
    odd = replace(odd, odd_hangups=odd_hangups)
    _tell_odd(odd, events)
    _tell_changes(added(one for note in notes for one in note.compared.values()), events)
    return Unreported(
        odd=odd, unparsed=unparsed, extra=extra, presumed=sum(note.presumed for note in notes)
    )


def _tell_changes(found: Compared, events: Events) -> None:
    """Say what became of answers about calls that were delivered before."""
    if found != Compared():
        events.message(
            "info",
            "refetched",
            same=found.same,
            changed=found.changed,
            extra_only=found.extra_only,
            missing=found.missing,
            cost=found.cost,
        )
    for column, count in found.alarmed.items():
        ids = list(found.alarms[column])
        if column in ALARMING:
            events.message("error", "identity_changed", column=column, count=count, voice_ids=ids)
        else:
            events.message("error", "known_value_lost", column=column, count=count, voice_ids=ids)


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total


def _tell_odd(odd: Oddities, events: Events) -> None:
    if odd.unreadable:
        events.message("warning", "unreadable_values", fields=odd.unreadable)
    if odd.answered_without_cost:
        events.message("warning", "answered_without_cost", count=odd.answered_without_cost)
    if odd.odd_hangups:
        events.message("warning", "odd_hangups", count=odd.odd_hangups)
    if odd.changed_fields:
        events.message("warning", "changed_fields", fields=odd.changed_fields)
    if odd.new_fields:
        events.message("warning", "new_fields", fields=odd.new_fields)


def tell_recovery(opened: Opened, events: Events) -> None:
    for run in opened.killed_runs:
        events.message("warning", "killed_run_closed", run_id=run.id)
    if opened.finished_publications:
        events.message("info", "publications_finished", count=opened.finished_publications)
