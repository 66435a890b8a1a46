"""The screens of `status`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from harvester.cli.ui.console import Line
from harvester.cli.ui.event_text import retries_told
from harvester.cli.ui.exit_codes import ending
from harvester.cli.ui.next_command import next_told, pasted
from harvester.cli.ui.progress_bar import outcomes, sent, slowed
from harvester.cli.ui.text import count, local_time, one_line, share, span
from harvester.vendor_clock import OFFSET_TEXT

if TYPE_CHECKING:
    from harvester.operations.status import OutputStatus, Running
    from harvester.pipeline.engine.progress import Progress
    from harvester.pipeline.limits.sharing import Sharing
    from harvester.state.id_counts import BillingMonth
    from harvester.state.values import RunRecord

_LABEL = 11
_NUMBER = 13
_STALE_S = 10


def idle_screen(found: OutputStatus, now: float, *, unicode: bool = True) -> list[Line]:
    """An output without a run in progress; `now` is Unix time."""
    lines = [Line(f"{found.output}, account {found.account}: no run in progress.", "bold")]
    lines += [
        _figure("delivered", found.ids.in_data + found.ids.in_journal, _delivered(found)),
        _figure("open", found.ids.open, _open(found)),
        _figure("dead", found.ids.dead, _reasons(found)),
        _figure("pending", found.ids.pending, _pending(found)),
        *_again(found),
        *_bad_lines(found),
        Line(),
    ]
    lines += _months(found.months)
    lines += _runs(found, now, dash="—" if unicode else "-") + _limit(found.limit)
    return [*lines, Line(), Line(f"Next:  {next_told(_next(found))}")]


def running_screen(found: Running, output: str) -> list[Line]:
    """An output that a process holds."""
    who = f" (process {found.pid} on {found.host})" if found.pid else ""
    since = f", since {_since(found.since)}" if found.since else ""
    if found.is_read:
        told = f"{output}: `harvester {found.command}`{who} reads it{since}."
        return [Line(told, "bold"), Line("Nothing is changed; look again when it has ended.")]
    lines = [Line(f"{output}: running{who}{since}.", "bold")]
    if found.progress is None:
        lines.append(Line("No figures yet: it reads its input and builds its work list."))
        return lines + _limit(found.limit)
    assert found.age_s is not None  # that of the figures
    lines.append(Line(f"Run {found.run_id}, as of {span(found.age_s)} ago:"))
    if found.age_s > _STALE_S:
        lines.append(
            Line(
                "That is old for a run in progress: it may be stopped (Ctrl-Z), or its disk may "
                "hang. `ps` shows its state; it is safe to end it and to run again.",
                "yellow",
            )
        )
    return lines + _progress(found.progress) + _limit(found.limit)


def _limit(found: Sharing | None) -> list[Line]:
    """Who shares the limit, the latest to take a turn first."""
    if found is None:
        return []
    if found.trouble:
        return [Line(), Line(f"Limit: {one_line(found.trouble)}", "yellow")]
    closed = f"; the vendor allows no request for {span(found.closed_s)}" * (found.closed_s > 0)
    who = "shared by" if found.parties else "not in use now"
    lines = [Line(f"Limit {found.rate_per_s:g} requests/s in {found.file}: {who}{closed}", "bold")]
    for one in sorted(found.parties, key=lambda one: (one.idle_s is None, one.idle_s)):
        turn = "no turn yet" if one.idle_s is None else f"latest turn {one.idle_s:.1f} s ago"
        lines.append(Line(f"  process {one.pid}, {one.priority}, {turn}: {one_line(one.output)}"))
    return [Line(), *lines]


def _since(at: str) -> str:
    try:
        return local_time(datetime.fromisoformat(at).timestamp())
    except ValueError:  # written by another program, or another version
        return one_line(at)


def _progress(now: Progress) -> list[Line]:
    left = "" if now.eta_s is None else f", about {span(now.eta_s)} left"
    done = (
        f"{count(now.resolved)} of {count(now.to_fetch)} ids, {share(now.resolved, now.to_fetch)}"
    )
    lines = [
        _row(now.phase, f"{done}{left}", "bold"),
        _row("requests", sent(now)),
        _row("so far", outcomes(now)),
    ]
    if now.retries:
        lines.append(_row("retries", retries_told(now.retries)))
    if reason := slowed(now):
        lines.append(_row("pace", reason, "yellow"))
    return lines


def _row(label: str, text: str, style: str = "") -> Line:
    return Line(f"  {label:<{_LABEL}}{text}", style)


def _delivered(found: OutputStatus) -> str:
    ids = found.ids
    unrated = f"; {count(ids.delivered_unrated)} without a price" * (ids.delivered_unrated > 0)
    if not ids.in_journal:
        return f"records in the data{unrated}"
    return (
        f"records: {count(ids.in_data)} in the data, {count(ids.in_journal)} safe in the "
        f"journal until {pasted('`harvester publish`')} or the next run writes them{unrated}"
    )


def _open(found: OutputStatus) -> str:
    ids = found.ids
    unrated = f"; {count(ids.open_unrated)} are over and unrated" * (ids.open_unrated > 0)
    return f"calls not final; {count(ids.open_due)} are due{unrated}"


def _pending(found: OutputStatus) -> str:
    if not found.ids.pending:
        return "nothing to fetch"
    told = [
        f", {count(number)} of them {what}"
        for number, what in (
            (found.ids.retrying, "dead letters that are fetched again"),
            (found.ids.deferred, "failed before"),
        )
        if number
    ]
    return f"ids to fetch{''.join(told)}"


def _again(found: OutputStatus) -> list[Line]:
    waiting = found.ids.pending_again
    return [_figure("again", waiting, "delivered ids to fetch again")] if waiting else []


def _reasons(found: OutputStatus) -> str:
    if not found.ids.dead_by_reason:
        return "permanent failures"
    ranked = sorted(found.ids.dead_by_reason.items(), key=lambda item: (-item[1], item[0]))
    # As they are written, for `refetch dead --reason`.
    return ", ".join(f"{reason} {count(number)}" for reason, number in ranked)


def _bad_lines(found: OutputStatus) -> list[Line]:
    if not found.bad_lines:
        return []
    listed = f"; {found.bad_lines_file} lists them" if found.bad_lines_file else ""
    return [_figure("bad lines", found.bad_lines, f"of the last input, without a voiceId{listed}")]


def _months(found: Sequence[BillingMonth]) -> list[Line]:
    """Whether all calls of a month are here, as the vendor lists them."""
    if not found:
        return []
    return [
        Line(f"The vendor's list (days of {OFFSET_TEXT})", "bold"),
        *(
            Line(f"  {one.month}  {_month(one)}", "" if one.is_complete else "yellow")
            for one in found
        ),
        Line(),
    ]


def _month(one: BillingMonth) -> str:
    again = pasted(f"`harvester reconcile --month {one.month}`")
    listed = f"{count(one.days_listed)} of {count(one.days)} days listed"
    if one.counted_ms is None:
        return f"{listed}, none reconciled: {again}"
    counted = f"reconciled {local_time(one.counted_ms / 1000)}"
    if one.days_counted < one.days_listed:
        listed += f", {count(one.days_counted)} of them reconciled since"
    if one.is_complete:
        of = "complete" if one.is_over else "complete so far"
        return f"{of}: {listed}, {count(one.listed)} calls; {counted}"
    named = ("missing", "pending", "open", "dead")
    told = [f"{count(getattr(one, name))} {name}" for name in named if getattr(one, name)]
    return f"{listed}, {count(one.listed)} calls{', '.join(['', *told])}; {counted}. {again}"


def _runs(found: OutputStatus, now: float, dash: str) -> list[Line]:
    if not found.runs:
        return [Line("No run yet.")]
    zone = local_time(now).rpartition(" ")[2]
    ago = span(now - found.runs[0].started_ms / 1000)
    heads = _columns(f"began ({zone})", "lasted", "delivered", "requests", "exit code")
    return [
        Line(f"Last runs, the newest began {ago} ago", "bold"),
        Line(heads, "dim"),
        *(_run(run, dash) for run in found.runs),
    ]


def _run(run: RunRecord, dash: str) -> Line:
    began = run.started_ms / 1000
    told, style = "killed; nothing is lost", "yellow"
    if run.exit_code is not None:
        told, style = f"{run.exit_code} {dash} {ending(run.exit_code).short}", ""
    lasted = span(run.ended_ms / 1000 - began) if run.ended_ms else "?"
    when = local_time(began).rpartition(" ")[0]
    return Line(_columns(when, lasted, count(run.delivered), count(run.requests), told), style)


def _columns(began: str, lasted: str, delivered: str, requests: str, told: str) -> str:
    return f"  {began:<16}{lasted:>12}{delivered:>11}{requests:>10}  {told}"


def _next(found: OutputStatus) -> str:
    ids = found.ids
    if found.unended or ids.pending or ids.pending_again or ids.open_due:
        what = [
            f"{count(number)} {name}"
            for number, name in (
                (found.ids.pending, "pending"),
                (found.ids.pending_again, "to fetch again"),
                (found.ids.open_due, "open and due"),
                (found.ids.in_journal, "to publish"),
            )
            if number
        ]
        told = f" ({', '.join(what)})" if what else ""
        return f"`harvester run` goes on where it stopped{told}."
    if found.ids.in_journal:
        return "`harvester publish` writes the journal into the data."
    if found.ids.dead:
        return (
            "`harvester export dead` lists the dead ids; `harvester refetch dead` fetches them "
            "again."
        )
    return "nothing to do; give `harvester run` the next id files."


def _figure(label: str, number: int, text: str) -> Line:
    return Line(f"{label:<{_LABEL}}{count(number):>{_NUMBER}}  {text}")
