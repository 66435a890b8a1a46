"""What the ledger keeps of an id, as values.

Instants are integers: milliseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from harvester.answers.answer import SINGLE, Answer

Blob: TypeAlias = bytes
"""In a Struct that has a field `bytes`."""

CHUNK_ROWS = 10_000
"""Rows of the work list that share one bitmap: another number binds progress bits to other ids."""


def chunks_of(rows: int) -> int:
    """How many chunks the first `rows` rows of a list make; the last may be short."""
    return -(-rows // CHUNK_ROWS)


def rows_of_chunk(no: int, rows: int) -> int:
    """How many of the first `rows` rows of a list lie in chunk `no`; 0 or less beyond them."""
    return min(CHUNK_ROWS, rows - no * CHUNK_ROWS)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One delivered answer, on its way into the journal; it comes out as an `Answer` of its run."""

    voice_id: str
    fetched_at_ms: int
    is_final: bool
    body: bytes
    """The vendor's whole answer as it came: UTF-8 JSON, literals untouched."""
    is_rated: bool = True
    fetched_by: str = SINGLE
    """Both as in `Answer`."""


class OpenCall(msgspec.Struct, frozen=True):
    """A call that isn't over or rated yet, or that the vendor does not know yet."""

    voice_id: str
    due_ms: int
    first_ms: int
    fetches: int
    run_id: str
    answer: bytes | None = None
    """The last answer with a record; None where the vendor knew none."""
    answer_ms: int | None = None
    unknown_ms: int | None = None
    """When the vendor first said no, be it that it knows no such record or that the id is none;
    None if it gave a record when last asked."""
    unrated_ms: int | None = None
    """When its record first showed a call that is over and unrated; None if the last one did not.

    The last record then is all that there may ever be: whatever ends the waiting delivers it.
    """

    @property
    def is_unrated(self) -> bool:
        """Whether the call is over, and waits for its price alone."""
        return self.unrated_ms is not None

    @property
    def last_entry(self) -> Entry | None:
        """The last answer with a record, as it would be delivered."""
        if self.answer is None or self.answer_ms is None:
            return None
        over = self.is_unrated
        return Entry(self.voice_id, self.answer_ms, over, self.answer, is_rated=not over)

    @property
    def last_answer(self) -> Answer | None:
        """The same as an answer of the run that fetched it."""
        entry = self.last_entry
        if entry is None:
            return None
        return Answer(
            entry.voice_id,
            entry.body,
            entry.fetched_at_ms,
            self.run_id,
            entry.is_final,
            entry.is_rated,
        )


class DeadLetter(msgspec.Struct, frozen=True):
    """An id that will not be asked again unless somebody says so."""

    voice_id: str
    reason: str
    detail: str
    attempts: int
    first_ms: int
    died_ms: int
    run_id: str
    published: bool = False
    """Its last kept answer is in the data all the same, with is_final = false."""
    body: bytes | None = None
    retrying: bool = False
    """It is on the work list again: pending, not dead, until its new outcome is safe."""


class Deferred(msgspec.Struct, frozen=True):
    """An id whose budget of attempts was spent in some run; it stays pending."""

    voice_id: str
    cause: str
    detail: str
    first_ms: int
    last_ms: int
    run_id: str
    runs: int = 0
    """Runs that count against it: those in which other ids were delivered meanwhile."""
    days: tuple[str, ...] = ()
    """The distinct UTC days of those runs, at most as many as decide."""
    chunk: int | None = None
    row: int | None = None
    """Its place on the work list; None for an open call."""
    counts: bool = False
    """Others were delivered around its attempts in `run_id`: failing again, that run counts."""
    again: bool = False
    """Its record is in the data set already."""


# A dataclass among Structs: setting an attribute, as every id does, is quicker.
class Batch(msgspec.Struct):
    """What one acknowledgement commits: outcomes, progress, counters, in one transaction."""

    entries: list[Entry] = []
    again: list[Entry] = []
    """Answers about calls that the data set has already."""
    corrected: list[str] = []
    """Of those, the ids whose record is final now: a dead letter that was published goes."""
    resolved_rows: dict[int, list[int]] = {}
    """Chunk number to the rows within it that are settled now."""
    open_calls: list[OpenCall] = []
    closed_calls: list[str] = []
    dead_letters: list[DeadLetter] = []
    revived: list[str] = []
    """Dead letters whose retry had a new outcome."""
    deferred: list[Deferred] = []
    recovered: list[str] = []
    """Deferred ids that have an outcome now."""
    by_pages: list[str] = []
    """Ids whose outcome is a record that a page of the vendor's list brought."""
    list_delivered: int = 0
    list_open: int = 0
    list_dead: int = 0
    list_refetched: int = 0
    outcomes: int = 0
    bytes: int = 0


class FileStamp(msgspec.Struct, frozen=True):
    """How a file looked when it was read; as long as it looks so, it isn't read again."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    xxh128: str


class InputRecord(msgspec.Struct, frozen=True):
    """An input that was listed once: the books of its lines."""

    key: str
    lines: int
    bad: int
    duplicate: int
    distinct: int
    resolved_before: int
    listed: int
    first_listed_ms: int
    too_young: int = 0
    """Ids that are neither resolved nor listed: they are when they are old enough."""


class WorkList(msgspec.Struct, frozen=True):
    """The one work list of this output."""

    id: int
    input_key: str | None
    """The input that it was last made for; None for a list made by a refetch."""
    path: str
    ids_path: str | None
    """All distinct ids of the input, settled or not, sorted; relative to state/ like `path`."""
    listed: int
    retried: int
    carried_over: int
    delivered: int = 0
    open: int = 0
    dead: int = 0
    again: int = 0
    """Ids whose record is in the data set already; its last rows."""
    refetched: int = 0
    """Of those, the ones that have an outcome."""

    @property
    def new(self) -> int:
        """Rows whose ids the data set does not have."""
        return self.listed + self.retried + self.carried_over

    @property
    def rows(self) -> int:
        return self.new + self.again

    @property
    def pending_new(self) -> int:
        return self.new - self.delivered - self.open - self.dead

    @property
    def pending_again(self) -> int:
        return self.again - self.refetched

    @property
    def pending(self) -> int:
        return self.pending_new + self.pending_again


class Compared(msgspec.Struct, omit_defaults=True):
    """What became of answers about calls that the data set had already, each compared with the
    newest that was known of its call.
    """

    same: int = 0
    changed: int = 0
    extra_only: int = 0
    """Nothing but `extra` or `unparsed` differs."""
    missing: int = 0
    """The data set has no row of the call any more."""
    unrated: int = 0
    """By how much calls without a price became more; below 0: some were given one."""
    cost: dict[str, str] = {}
    """Decimal text by currency: the sum of what costs rose and fell by."""
    moved: dict[str, str] = {}
    """The same, rises and falls alike counted as above zero."""
    squares: dict[str, str] = {}
    """The sum of the squares of the differences."""
    alarms: dict[str, tuple[str, ...]] = {}
    """A column that no later answer may have otherwise -> some ids of which it has."""
    alarmed: dict[str, int] = {}
    """The same column -> of how many."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a publication is made of, why, and what is odd in it.

    Kept with its commit point, so that what is odd is shown also if the run that published it was
    killed before it could.
    """

    command: str = ""
    """Who wanted a rewrite."""
    made_of: Mapping[str, tuple[str, ...]] = {}
    """Of a rewrite: path of a file that comes -> paths of the files that go into it."""
    folded: Mapping[str, int] = {}
    """Of a rewrite: folder of cdr/ -> the newest change that is folded into its rows."""
    dropped: tuple[str, ...] = ()
    """Of a rewrite: dates whose rows left."""
    went: tuple[str, ...] = ()
    """Of a rewrite: files that went, and nothing is made of them."""
    left: int = 0
    """Of a rewrite: rows that went and did not come back."""
    unrated: int = 0
    """Of a rewrite: by how much calls without a price became more; below 0: some left."""
    by_renames: bool = False
    """Of a rewrite: nobody reads meanwhile, so folders need not change places in one step."""
    lifted_from: int | None = None
    """Of a rewrite: the version of the columns before, if the rows got those of another."""
    free_destinations: tuple[str, ...] = ()
    """Then: where calls cost nothing."""
    records: int = 0
    """Answers of the journal's range."""
    unparsed: Mapping[str, int] = {}
    extra: Mapping[str, int] = {}
    without_cost: int = 0
    presumed: int = 0
    compared: Mapping[str, Compared] = {}
    """Of a change: run -> what became of its answers."""


class Publication(msgspec.Struct, frozen=True):
    """What changes the data set in one step: a range of the journal, lo…hi, becomes files of cdr/
    (append) or of changes/ (change), or files take the place of others (rewrite).
    """

    id: int
    lo: int
    hi: int
    state: str
    records: int = 0
    """Of its range, those that are in the journal."""
    bytes: int = 0
    """Of undecoded answers."""
    kind: str = "append"
    note: Note | None = None

    @property
    def is_rewrite(self) -> bool:
        return self.kind == "rewrite"

    @property
    def is_change(self) -> bool:
        """Whether its range holds answers about calls that the data set has already."""
        return self.kind == "change"


class JournalBlob(msgspec.Struct, frozen=True):
    """A row of the journal: the answers of one batch, packed."""

    seq: int
    run_id: str
    records: int
    bytes: int
    """Of undecoded answers."""
    blob: Blob
    kind: str = "new"
    """new, or again: about calls that the data set has already."""


class PartRecord(msgspec.Struct, frozen=True):
    """One file of the data set."""

    path: str
    publication: int
    rows: int
    bytes: int
    sha256: str
    rewrite: int | None = None
    """The publication that put it into its folder, if that was a rewrite."""

    @property
    def brought_by(self) -> int:
        """The publication that made this file part of the data set."""
        return self.publication if self.rewrite is None else self.rewrite

    @property
    def folder(self) -> str:
        """Its partition: the folder's name, relative to cdr/."""
        return self.path.partition("/")[0]


def by_folder(parts: Iterable[PartRecord]) -> dict[str, list[PartRecord]]:
    """Files by their partition; each in the order in which they came."""
    found: dict[str, list[PartRecord]] = {}
    for part in parts:
        found.setdefault(part.folder, []).append(part)
    return found


class KnownPart(PartRecord, frozen=True, kw_only=True):
    """A file that the state database knows."""

    state: str
    """committed, live or retired."""
    superseded_by: int | None = None
    """The rewrite that took it out of its folder, or is doing so."""
    retired_ms: int | None = None


class Counters(msgspec.Struct):
    """What a run has counted so far.  Whoever counts adds to a field."""

    begun: int = 0
    """Ids: they have one of the outcomes below, once the run has ended."""
    delivered: int = 0
    open: int = 0
    dead: int = 0
    deferred: int = 0
    cut_off: int = 0
    opens_published: int = 0
    """Dead letters whose last answer went into the data."""
    unrated: int = 0
    """Of the delivered ones: calls that the vendor had not put a price on."""
    again: int = 0
    """Ids whose record was in the data set already and that have an outcome: an answer, or one of
    the next two.  They are among none of the counts above."""
    forgotten: int = 0
    """Of those, the ones of which the vendor has no record now."""
    failed: int = 0
    """Of those, the ones that failed in too many runs."""
    requests: int = 0
    by_pages: int = 0
    """Ids with an outcome (of those above) that is a record of a page."""
    page_requests: int = 0
    """Of the requests, those for pages, and for what is compared with them."""
    sampled: int = 0
    """Records of pages that were compared with an answer about the id alone."""
    odd_hangups: int = 0
    """Answers whose hangupTime has an unknown form."""
    clock_skew_s: int | None = None
    """(vendor clock - ours); None until an answer has shown it."""
    retries: dict[str, int] = {}
    """By cause."""
    usage: dict[str, int] = {}
    """What goes into the data, as the answers have it; see `dataset.usage.as_counters`."""

    @property
    def resolved(self) -> int:
        """Ids that have an outcome of this run, deferred ones included."""
        return self.delivered + self.open + self.dead + self.deferred + self.again

    def stored(self) -> dict[str, int]:
        """By the names that the state database keeps; what was never counted is left out."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        found = {name: count for name, count in plain.items() if count}
        if self.clock_skew_s is not None:
            found["clock_skew_s"] = self.clock_skew_s
        found |= {f"{RETRY}{cause}": count for cause, count in self.retries.items()}
        return found | self.usage


RETRY = "retry."
"""What the stored name of a cause of retries begins with."""
_PLAIN = tuple(
    name for name in Counters.__struct_fields__ if name not in {"clock_skew_s", "retries", "usage"}
)


class RunRecord(msgspec.Struct, frozen=True):
    """A run and its counters, as of its last acknowledgement."""

    id: str
    started_ms: int
    ended_ms: int | None
    exit_code: int | None
    first_publication: int
    """Publications from this id on may hold rows of this run."""
    counters: Mapping[str, int]

    @property
    def attempted(self) -> int:
        """Ids that were begun: they have one of the outcomes below, once the run has ended."""
        return self.counters.get("begun", 0)

    @property
    def delivered(self) -> int:
        return self.counters.get("delivered", 0)

    @property
    def open(self) -> int:
        return self.counters.get("open", 0)

    @property
    def dead(self) -> int:
        return self.counters.get("dead", 0)

    @property
    def deferred(self) -> int:
        return self.counters.get("deferred", 0)

    @property
    def cut_off(self) -> int:
        return self.counters.get("cut_off", 0)

    @property
    def opens_published(self) -> int:
        """Dead letters whose last answer went into the data."""
        return self.counters.get("opens_published", 0)

    @property
    def unrated(self) -> int:
        """Of the delivered ones: calls that the vendor had not put a price on."""
        return self.counters.get("unrated", 0)

    @property
    def again(self) -> int:
        """Ids whose record was in the data set already, and that have an outcome."""
        return self.counters.get("again", 0)

    @property
    def forgotten(self) -> int:
        """Of those, the ones of which the vendor has no record now."""
        return self.counters.get("forgotten", 0)

    @property
    def failed(self) -> int:
        """Of those, the ones that failed in too many runs."""
        return self.counters.get("failed", 0)

    @property
    def requests(self) -> int:
        return self.counters.get("requests", 0)

    @property
    def rows(self) -> int:
        """What it has put into the data or the journal."""
        return self.delivered + self.opens_published
