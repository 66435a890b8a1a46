"""Log events as sentences, for people; JSON keeps the names and fields."""

from __future__ import annotations

from collections.abc import Mapping

from harvester.cli.ui.text import count, one_line, share, span, speed

_LEVELS = {"warning": "warning: ", "error": "error: ", "critical": "error: ", "debug": "debug: "}
_HIDDEN = frozenset({"event", "level", "timestamp", "exception"})
_LENGTHS = frozenset({"clock_skew_s"})

_CAUSES = {
    "throttled": "throttling",
    "-18": "busy (-18)",
    "time_refused": "time refused (-16)",
    "refused": "no connection",
    "reset": "connection reset",
    "torn": "incomplete answer",
    "dns": "host name unknown",
    "tls": "no trusted TLS",
    "protocol": "no HTTP",
    "coding": "unknown content coding",
    "proxy": "no way through the proxy",
    "exhausted": "out of files or ports",
}
_SAYINGS = {
    "run_started": "run {run_id}; its log and summary go to {folder}",
    "input_listed": (
        "input: {lines} lines, {distinct} distinct ids; {bad} bad and {duplicate} duplicate lines, "
        "{resolved_before} resolved before, {listed} listed"
    ),
    "no_ids": (
        "the input holds no ids ({input}): open calls and carried over ids are fetched all the "
        "same; new ids last came {last_new_at}"
    ),
    "bad_ids": (
        "{count} bad line(s) without a voiceId, {new} of them not reported before; {file} lists "
        "them with file and line"
    ),
    "too_young": (
        "{count} id(s) of the input are younger than input.min_age_s: a later run with the same "
        "input fetches them"
    ),
    "refetch_listed": (
        "{again} ids that have a record are fetched again, of {population} that are named; "
        "{left_out} more are left out by their date, or as numbers were erased in them"
    ),
    "all_left_out": (
        "none of the {count} ids that are such is fetched again: by the clock of this machine all "
        "are dated over 60 days ago, or numbers were erased in them. If its date is wrong, put it "
        "right; else name days (--from, --to, --month) to reach them"
    ),
    "ids_not_delivered": "{count} id(s) are not in the data set and are not fetched: {ids}",
    "pages_began": "reading the vendor's list for records (samples with seed {seed})",
    "pages_ended": (
        "{records} records came by pages, with {requests} requests; {sampled} were compared; "
        "{windows} windows of the list are settled, {unsettled} are not"
    ),
    "pages_refused": (
        "fetching by pages ends ({cause}): from now on each id is fetched by a request of its own"
    ),
    "pages_differ": (
        "a page of the vendor's list has {columns} otherwise than the answer about the id alone "
        "({voice_ids}): from now on each id is fetched by a request of its own, and what came by "
        "pages before is fetched again"
    ),
    "refetched": (
        "compared with what was delivered: {same} the same, {changed} changed, {extra_only} differ "
        "in extra or unparsed alone, {missing} have no row any more"
    ),
    "identity_changed": (
        "{count} record(s) came back with another {column}, which no call may change: {voice_ids}. "
        "Both are in changes/; ask the vendor"
    ),
    "known_value_lost": (
        "{count} record(s) came back without the {column} that was known: {voice_ids}. Both are in "
        "changes/, and figures count what came last; ask the vendor"
    ),
    "killed_run_closed": (
        "run {run_id} was killed, or could not write down its end; its control totals were "
        "closed, and nothing is lost"
    ),
    "ages_held": (
        "this machine's clock or the vendor's was set since the run before (now {clock_skew_s} "
        "apart): ids are dated by the vendor's, and in this run none was given up, ended or "
        "published for its age; the next run does. Check NTP"
    ),
    "publications_finished": "finished {count} publication(s) that an earlier run did not complete",
    "outage_began": (
        "the vendor is out of reach or failing: one request every 5 s until it answers; the "
        "retries of an id are not used up by it"
    ),
    "concurrency_lowered": (
        "{room} connections, not pace.concurrency = {wanted}: more open files are not allowed. "
        "Raise their limit (ulimit -n, LimitNOFILE=)"
    ),
    "requests_fail": "requests fail: {reason}",
    "worker_lost": "worker {worker} is gone: {reason}; others fetch its ids",
    "outage_over": "the vendor answers again",
    "pace_lowered": "slowed to {pace}/s of {limit}/s by vendor throttling or errors, rising again",
    "pace_restored": "the full limit again: {limit}/s",
    "stopping": (
        "{signal}: no new request starts, those under way may finish (15 s); once more stops at "
        "once"
    ),
    "unreadable_values": (
        "values needed for billing could not be read; they are kept in unparsed: {fields}"
    ),
    "answered_without_cost": "{count} answered call(s) have no cost",
    "odd_hangups": (
        "{count} answer(s) have a hangupTime in an unknown form: over where the call lasted or "
        "cost something, else open"
    ),
    "changed_fields": (
        "values could not be read that could until now; they are kept in unparsed: {fields}"
    ),
    "new_fields": "fields came that are new here; they are kept in extra: {fields}",
    "library_message": "{logger}: {message}",
    "metrics_failed": "the metrics file {file} can't be written ({reason}); the run goes on",
    "stdout_failed": "stdout can't be written ({reason}); the run goes on",
    "ping_failed": "the ping failed ({reason}); the run goes on",
    "run_ended": "run {run_id} ended with exit code {exit_code}",
}


def sentence(fields: Mapping[str, object]) -> str:
    """One event as one line of text, harmless to a terminal."""
    event = str(fields.get("event", ""))
    prefix = _LEVELS.get(str(fields.get("level", "")), "")
    if event == "progress":
        return prefix + progress_line(fields)
    saying = _SAYINGS.get(event)
    told = {name: _told(name, value) for name, value in fields.items()}
    if saying is not None:
        try:
            return one_line(prefix + saying.format_map(told))
        except KeyError:
            pass  # a field has gone missing: better plain than not at all
    rest = " ".join(f"{name}={told[name]}" for name in told if name not in _HIDDEN)
    return one_line(f"{prefix}{event} {rest}".rstrip())


def progress_line(fields: Mapping[str, object]) -> str:
    """How it is going, for where no bar can be drawn."""
    resolved, to_fetch = _number(fields, "resolved"), _number(fields, "to_fetch")
    done = f"{count(resolved)} of {count(to_fetch)} ids ({share(resolved, to_fetch)})"
    pieces = [
        f"{fields.get('phase', 'fetching')}: {done}",
        f"{speed(_number(fields, 'requests_per_s'))} requests/s of {_number(fields, 'limit'):g}",
    ]
    pieces += [
        f"{count(number)} {name}"
        for name in ("open", "dead", "deferred")
        if (number := _number(fields, name))
    ]
    retries = fields.get("retries")
    if isinstance(retries, Mapping) and retries:
        pieces.append("retries " + retries_told(retries))
    if fields.get("slowed"):
        pieces.append(str(fields["slowed"]))
    if fields.get("eta_s") is not None:
        pieces.append(f"about {span(_number(fields, 'eta_s'))} left")
    return one_line(" · ".join(pieces))


def retries_told(retries: Mapping[str, object]) -> str:
    """Retries by cause, the most frequent first."""
    ranked = sorted(retries.items(), key=lambda item: (-_as_number(item[1]), item[0]))
    return ", ".join(f"{cause_told(cause)} {count(_as_number(n))}" for cause, n in ranked)


def cause_told(cause: str) -> str:
    """The name of a cause as words: "time_refused" -> "time refused (-16)"."""
    told = _CAUSES.get(cause, cause.replace("_", " "))
    return one_line(told.replace("http ", "HTTP "))


def _told(name: str, value: object) -> str:
    if name in _LENGTHS and isinstance(value, int | float):
        return span(abs(value))
    if isinstance(value, int):
        return count(value) if value >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{inner} {_told('', number)}" for inner, number in value.items())
    return str(value)


def _number(fields: Mapping[str, object], name: str) -> float:
    return _as_number(fields.get(name))


def _as_number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
