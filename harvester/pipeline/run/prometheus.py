"""A run's figures in Prometheus' text exposition format 0.0.4, for a textfile collector.

Names follow Prometheus' conventions: a prefix, base units, `_total` on counters.  Counters are of
one run and begin at 0 with the next; `rate()` and `increase()` expect no more.  Labels have few
values by construction, and none can hold an id, a phone number or a secret: they are words of
ours, and a cause that looks like anything else is shown as "odd".

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ and .../practices/naming/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from harvester.dataset.group_record import GROUP_RECORD
from harvester.pipeline.engine.progress import Progress
from harvester.redact import label_or_odd
from harvester.version import __version__

PREFIX = "cdr_harvester_"
_FIELDS = frozenset({*GROUP_RECORD.fields, "data"})


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a run; instants are Unix time in seconds."""

    run_id: str = ""
    account: str
    started_s: float
    ended_s: float | None = None
    exit_code: int | None = None
    last_success_s: float | None = None
    """When a run last did what it was meant to (exit 0, 3 or 8)."""
    last_new_ids_s: float | None = None
    """When an input last had ids that were new to the output."""
    progress: Progress | None = None
    """None where nothing was fetched."""
    cut_off: int = 0
    unrated: int = 0
    """Delivered without a price."""
    refetched: Mapping[str, int] = {}
    """Ids whose record was in the data set already, by what became of them; once it ended."""
    throttled: int = 0
    outages: int = 0
    workers: int = 0
    workers_lost: int = 0
    clock_skew_s: float = 0.0
    journal_records: int = 0
    published_records: int = 0
    published_files: int = 0
    published_bytes: int = 0
    unparsed: Mapping[str, int] = {}
    """Values that could not be typed, by field."""
    unknown_fields: int = 0
    """Values of fields that the vendor's page does not name."""
    without_cost: int = 0
    """Answered calls without a cost."""
    changed_fields: int | None = None
    """Fields that are new, or whose form is; known once it ended."""
    by_pages: PagesFigures | None = None
    """None where nothing was to be fetched so."""
    stand: Mapping[str, int] = {}
    """How many ids of the whole output stand where, as `status` counts them; once it ended."""
    stand_unrated: Mapping[str, int] = {}
    """Of these, the unrated calls that are open, and those delivered."""
    billing_days: Mapping[str, int] = {}
    """Days of this month and the last: that are over, listed for sure, complete."""
    billing_calls: Mapping[str, int] = {}
    """Calls that the vendor lists for these days, by where they stand here."""
    reconciled_s: float | None = None
    """When the day among them that was counted longest ago was; None: none ever was."""


class PagesFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What came by pages of the vendor's list."""

    ids: int
    requests: int
    sampled: int
    differs: bool


class Metric(msgspec.Struct, frozen=True):
    """One family: its samples by their labels."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Mapping[tuple[tuple[str, str], ...], float]


def exposition(figures: RunFigures) -> str:
    """The whole file."""
    return "".join(_lines(metric) for metric in metrics(figures))


def metrics(figures: RunFigures) -> Iterator[Metric]:
    """Every family that there is something to say of."""
    labels = (
        ("account", figures.account),
        ("run_id", figures.run_id),
        ("version", __version__),
    )
    yield Metric("run_info", "gauge", "The run whose figures this file holds.", {labels: 1})
    running = figures.ended_s is None
    yield _gauge("run_active", "Whether it is still running.", running)
    yield _gauge("run_start_timestamp_seconds", "When it was started.", figures.started_s)
    if figures.ended_s is not None:
        yield _gauge("run_end_timestamp_seconds", "When it ended.", figures.ended_s)
    if figures.exit_code is not None:
        yield _gauge("run_exit_code", "Its exit code; see the README.", figures.exit_code)
    if figures.last_success_s is not None:
        yield _gauge(
            "last_success_timestamp_seconds",
            "When a run last did what it was meant to (exit code 0, 3 or 8).",
            figures.last_success_s,
        )
    if figures.last_new_ids_s is not None:
        yield _gauge(
            "last_new_ids_timestamp_seconds",
            "When an input last had ids that were new to the output.",
            figures.last_new_ids_s,
        )
    if figures.progress is not None:
        yield from _of_progress(figures.progress, figures.cut_off)
        yield from _of_vendor(figures, figures.progress)
        yield from _of_store(figures)
    yield from _of_output(
        "output_ids",
        "Ids of the whole output by state, as `harvester status` counts them.",
        figures.stand,
    )
    yield from _of_output(
        "output_unrated_ids",
        "Of these: calls that the vendor has not put a price on, open and delivered.",
        figures.stand_unrated,
    )
    yield from _of_list(figures)


def _of_list(figures: RunFigures) -> Iterator[Metric]:
    yield from _of_output(
        "billing_days",
        "Days of this month and the last: over, listed by the vendor for sure, complete here.",
        figures.billing_days,
    )
    yield from _of_output(
        "billing_calls",
        "Calls that the vendor lists for these days, by where they stand here.",
        figures.billing_calls,
    )
    if figures.reconciled_s is not None:
        yield _gauge(
            "reconciled_timestamp_seconds",
            "When the day of them that was reconciled longest ago was.",
            figures.reconciled_s,
        )


def _of_output(name: str, help_: str, stand: Mapping[str, int]) -> Iterator[Metric]:
    if stand:
        yield Metric(
            name, "gauge", help_, {(("state", state),): number for state, number in stand.items()}
        )


def _of_progress(now: Progress, cut_off: int) -> Iterator[Metric]:
    outcomes = {
        "delivered": now.delivered,
        "open": now.open,
        "dead": now.dead,
        "deferred": now.deferred,
        "cut_off": cut_off,
    }
    yield Metric(
        "ids_total",
        "counter",
        "Ids processed by this run, by outcome.",
        {(("outcome", name),): number for name, number in outcomes.items()},
    )
    yield _gauge("to_fetch_ids", "Ids that this run set out to fetch.", now.to_fetch)
    pending = max(0, now.to_fetch - now.resolved + now.deferred)
    yield _gauge("pending_ids", "Ids of them that have no outcome yet.", pending)
    if now.eta_s is not None:
        yield _gauge("eta_seconds", "Until all are fetched, at the recent speed.", now.eta_s)


def _of_vendor(figures: RunFigures, now: Progress) -> Iterator[Metric]:
    yield _counter("requests_total", "Requests sent, retries included.", now.requests)
    retries: dict[tuple[tuple[str, str], ...], float] = {}
    for cause, number in now.retries.items():
        label = (("cause", label_or_odd(cause)),)
        retries[label] = retries.get(label, 0) + number
    yield Metric("retries_total", "counter", "Retries by cause.", retries)
    yield _counter("received_bytes_total", "Bytes of answers, decoded.", now.received_bytes)
    yield _counter("throttled_total", "Answers that throttled the run.", figures.throttled)
    yield _counter("outages_total", "Outages that the run paused for.", figures.outages)
    if figures.by_pages is not None:
        yield from _of_pages(figures.by_pages)
    yield _gauge("outage", "Whether it pauses for one now.", now.outage)
    yield _gauge("workers", "Processes that fetch beside the run's own.", figures.workers)
    yield _counter("workers_lost_total", "Workers that were given up.", figures.workers_lost)
    yield _gauge("pace_limit_requests_per_second", "The limit, as configured.", now.rate_per_s)
    yield _gauge("pace_requests_per_second", "The pace in force.", now.pace_per_s)
    yield _gauge("pace_paused_seconds", "Until the pace opens after throttling.", now.paused_s)
    yield _gauge(
        "clock_skew_seconds",
        "The vendor's clock less ours, at its worst in this run.",
        figures.clock_skew_s,
    )


def _of_pages(found: PagesFigures) -> Iterator[Metric]:
    yield _counter("by_pages_ids_total", "Ids whose record a page brought.", found.ids)
    yield _counter(
        "by_pages_requests_total", "Requests for pages, and for samples of them.", found.requests
    )
    yield _counter("by_pages_sampled_total", "Records of pages that were compared.", found.sampled)
    yield _gauge("by_pages_differs", "Whether one was not what it is singly.", found.differs)


def _of_store(figures: RunFigures) -> Iterator[Metric]:
    yield _gauge(
        "journal_records",
        "Records that are safe in the journal and not yet in the data.",
        figures.journal_records,
    )
    yield _counter("published_records_total", "Records written.", figures.published_records)
    yield _counter("published_files_total", "Parquet files written.", figures.published_files)
    yield _counter("published_bytes_total", "Bytes of Parquet written.", figures.published_bytes)
    yield from _of_oddities(figures)


def _of_oddities(figures: RunFigures) -> Iterator[Metric]:
    fields: Counter[str] = Counter()
    for name, number in figures.unparsed.items():
        fields[name if name in _FIELDS else "odd"] += number
    yield Metric(
        "unparsed_values_total",
        "counter",
        "Values of records written that could not be typed, by field.",
        {(("field", name),): number for name, number in fields.items()},
    )
    yield _counter(
        "unknown_field_values_total",
        "Values of fields that the vendor's page does not name.",
        figures.unknown_fields,
    )
    yield _counter(
        "answered_without_cost_total",
        "Answered calls of records written that have no cost.",
        figures.without_cost,
    )
    yield _counter(
        "unrated_ids_total", "Calls delivered without a price by this run.", figures.unrated
    )
    if figures.refetched:
        yield Metric(
            "refetched_ids_total",
            "counter",
            "Ids that the data set had already, by what their answers came to.",
            {(("outcome", name),): number for name, number in figures.refetched.items()},
        )
    if figures.changed_fields is not None:
        yield _gauge(
            "changed_fields",
            "Fields that came for the first time, or in an unknown form for the first time.",
            figures.changed_fields,
        )


def _gauge(name: str, help_: str, value: float) -> Metric:
    return Metric(name, "gauge", help_, {(): value})


def _counter(name: str, help_: str, value: float) -> Metric:
    return Metric(name, "counter", help_, {(): value})


def _lines(metric: Metric) -> str:
    name = PREFIX + metric.name
    head = f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"
    return head + "".join(
        f"{name}{_labels(labels)} {_number(value)}\n" for labels, value in metric.samples.items()
    )


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
