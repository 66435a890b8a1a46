"""The bill against `rules`, out of core: how many records differ, by how much, and which.

Theory of operation.  What no record tells by itself is found first: the usual currency of each
destination, the ids of calls that are there twice (day by day: the same call has the same time of
submission, hence lies in the same partition), and those of calls too close to another of the same
callee, over all days and a day beyond the period, for a call may last beyond midnight: of two such
calls the later one counts, so it is found in whichever period it lies, and only there.  Each is one
sort by a window, which DuckDB does out of core: no join of calls with calls.  Then one pass counts
every rule at once; a rule that some record breaks is read through once more for the worst ones, and
again for all of them if they are wanted.  Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from harvester.analysis.apart import Apart, set_apart
from harvester.analysis.audit.rules import DERIVED, NEAR_MS, RULES, Rule
from harvester.analysis.scope import Scope
from harvester.dataset.kind import RecordKind
from harvester.dataset.usage import ODD_CURRENCY, currency_name
from harvester.money import SCALE, UNIT, of_units
from harvester.storage.duckdb_engine import connect, trouble, units

WORST = 10
_BATCH_ROWS = 8_192
_AMOUNT = pa.decimal128(30, SCALE)
_FOUND = (
    pa.field("rule", pa.string(), nullable=False),
    pa.field("amount", _AMOUNT),
    pa.field("amount_currency", pa.string()),
    pa.field("found", pa.string()),
    pa.field("expected", pa.string()),
)

# An absurd amount must not overflow the sum of all: 10^19 of any currency is beyond every bill.
_MOST = 10**27
_MACROS = f"""
CREATE MACRO units(money) AS {units("money")};
CREATE MACRO bounded(u) AS
    CASE WHEN u IS NOT NULL THEN least(greatest(u, -{_MOST}::HUGEINT), {_MOST}::HUGEINT) END;
CREATE MACRO amount(u) AS
    (bounded(u)::DECIMAL(28, 0) * {UNIT:f}::DECIMAL({SCALE + 1}, {SCALE}))::DECIMAL(30, {SCALE});
-- What is no currency may be a number that nobody should read (usage.currency_name).
CREATE MACRO named(currency) AS
    CASE WHEN regexp_full_match(currency, '[A-Za-z]{{3}}') THEN currency ELSE '{ODD_CURRENCY}' END;
CREATE TEMP TABLE usual (code VARCHAR, usual_currency VARCHAR);
CREATE TEMP TABLE twice (voice_id VARCHAR, first_id VARCHAR);
CREATE TEMP TABLE overlapping (voice_id VARCHAR, overlap_id VARCHAR);
CREATE TEMP TABLE near (voice_id VARCHAR, near_id VARCHAR);
"""
_CALLS = "SELECT count(*), min(billing_date), max(billing_date) FROM record"
_USUAL = """
INSERT INTO usual
WITH seen AS (
    SELECT code, currency, count(*) AS calls FROM record
    WHERE code IS NOT NULL AND currency IS NOT NULL GROUP BY ALL
)
SELECT code, max({'calls': calls, 'currency': currency}).currency FROM seen GROUP BY code
"""
_TWICE = """
INSERT INTO twice
SELECT voice_id, first_id FROM (
    SELECT voice_id, first_value(voice_id) OVER same AS first_id
    FROM record WHERE callee IS NOT NULL AND call_time IS NOT NULL
    WINDOW same AS (
        PARTITION BY callee, submit_time, call_time, ringing_time, answer_time, hangup_time
        ORDER BY voice_id
    )
) WHERE voice_id <> first_id
"""
# Of the calls answered before it, the one that ends last: a short one may lie within a long one.
_OVERLAPPING = """
INSERT INTO overlapping
SELECT voice_id, longest.voice_id FROM (
    SELECT voice_id, answer_time,
           max({'until': hangup_time, 'voice_id': voice_id}) OVER before AS longest
    FROM around WHERE answered AND callee IS NOT NULL
        AND answer_time IS NOT NULL AND hangup_time IS NOT NULL
    WINDOW before AS (
        PARTITION BY callee ORDER BY answer_time, submit_time, voice_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
) WHERE answer_time < longest.until
"""
_NEAR = f"""
INSERT INTO near
SELECT voice_id, last_id FROM (
    SELECT voice_id, lag(voice_id) OVER before AS last_id,
           epoch_ms(submit_time) - epoch_ms(lag(submit_time) OVER before) AS apart_ms
    FROM around WHERE call_duration_s > 0 AND callee IS NOT NULL AND submit_time IS NOT NULL
    WINDOW before AS (PARTITION BY callee, call_duration_s ORDER BY submit_time, voice_id)
) WHERE apart_ms <= {NEAR_MS}
"""  # noqa: S608
_ROWS = f"""
(SELECT *, {DERIVED} FROM record LEFT JOIN usual USING (code) LEFT JOIN twice USING (voice_id)
 LEFT JOIN overlapping USING (voice_id) LEFT JOIN near USING (voice_id))
"""  # noqa: S608 - constants of this module, here and above


@dataclass(frozen=True, slots=True)
class Difference:
    """One record that a rule does not hold for."""

    voice_id: str
    callee: str
    """As in the record: whoever shows it masks it."""
    destination: str
    amount: Decimal | None
    currency: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule comes to."""

    rule: str
    assumption: str
    tolerance: str
    checked: int
    """Records that the rule can be applied to."""
    differing: int
    over: dict[str, Decimal]
    """By currency: what was charged beyond the expectation, where it was more."""
    under: dict[str, Decimal]
    """By currency: what was charged less, as an amount above zero."""
    cost: dict[str, Decimal]
    """By currency: what the differing records cost in all, right or wrong."""
    worst: tuple[Difference, ...]
    """Those of the greatest amounts; where there are none, of the greatest costs."""


class _Sums(NamedTuple):
    """What one rule comes to among the records of one currency; money in units."""

    currency: str
    checked: int
    differing: int
    over: int
    under: int
    cost: int


_COUNTED = len(_Sums._fields) - 1


class Billing:
    """The records of `files` that are in scope, as they are now, each rule applied to them."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        files: Sequence[Path],
        changes: Sequence[Path],
        scope: Scope,
        kind: RecordKind,
    ) -> None:
        self._database = database
        self._columns = ", ".join(kind.schema.names)
        self.found_schema = pa.schema([*_FOUND, *kind.schema])
        """Of a differing record: what the rule says of it, then the record as in the data set."""
        self._prepare(files, changes, scope)

    def calls(self) -> tuple[int, date | None, date | None]:
        """Records in scope, with the first and the last of their days.  Raises StoreError."""
        with _explained():
            found = self._database.execute(_CALLS).fetchone()
        assert found is not None, "an aggregate has one row"
        return found

    def apart(self) -> Apart:
        """The records without a day, without a cost, or with an absurd one.  Raises StoreError."""
        with _explained():
            return set_apart(self._database)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Every rule's count, money and worst records.  Raises StoreError."""
        with _explained():
            sums = self._sums()
            return tuple(self._verdict(rule, sums[rule.name]) for rule in RULES)

    def differing(self, verdicts: Sequence[Verdict]) -> Iterator[pa.RecordBatch]:
        """All differing records, rule by rule, as in `found_schema`.  Raises StoreError."""
        broken = {verdict.rule for verdict in verdicts if verdict.differing}
        with _explained():
            for rule in RULES:
                if rule.name in broken:
                    query = (
                        f"SELECT {_told(rule)}, {self._columns} FROM {_ROWS} WHERE {_broken(rule)}"  # noqa: S608
                    )
                    found = self._database.sql(query)
                    for batch in found.to_arrow_reader(_BATCH_ROWS):
                        yield _cast(batch, self.found_schema)

    def _prepare(self, files: Sequence[Path], changes: Sequence[Path], scope: Scope) -> None:
        with _explained():
            self._database.execute(_MACROS)
            for folder, of_day in groupby(sorted(files), key=lambda path: path.parent.name):
                scope.see(self._database, list(of_day), changes, folder=folder)
                self._database.execute(_TWICE)
            scope.see(self._database, files, changes)
            for across in (_USUAL, _OVERLAPPING, _NEAR):
                self._database.execute(across)

    def _sums(self) -> dict[str, list[_Sums]]:
        """By rule: the sums of each currency."""
        counts = ", ".join(_counts(rule) for rule in RULES)
        rows = self._database.execute(
            f"SELECT currency, {counts} FROM {_ROWS} GROUP BY currency"  # noqa: S608
        ).fetchall()
        found: dict[str, list[_Sums]] = {rule.name: [] for rule in RULES}
        for currency, *figures in rows:
            for number, rule in enumerate(RULES):
                of_rule = figures[_COUNTED * number : _COUNTED * (number + 1)]
                found[rule.name].append(_Sums(currency_name(currency), *of_rule))
        return found

    def _verdict(self, rule: Rule, sums: Sequence[_Sums]) -> Verdict:
        differing = sum(one.differing for one in sums)
        return Verdict(
            rule=rule.name,
            assumption=rule.assumption,
            tolerance=rule.tolerance,
            checked=sum(one.checked for one in sums),
            differing=differing,
            over=_by_currency((_named(rule, one.currency), one.over) for one in sums),
            under=_by_currency((_named(rule, one.currency), one.under) for one in sums),
            cost=_by_currency((one.currency, one.cost) for one in sums),
            worst=tuple(self._worst(rule)) if differing else (),
        )

    def _worst(self, rule: Rule) -> Iterator[Difference]:
        rows = self._database.execute(
            f"SELECT voice_id, coalesce(callee, ''), coalesce(code, ''), {_told(rule)} "  # noqa: S608
            f"FROM {_ROWS} WHERE {_broken(rule)} "
            "ORDER BY abs(amount) DESC NULLS LAST, abs(cost) DESC NULLS LAST, voice_id "
            f"LIMIT {WORST}"
        ).fetchall()
        for voice_id, callee, code, _, amount, currency, found, expected in rows:
            named = _named(rule, currency_name(currency))
            yield Difference(voice_id, callee, code, amount, named, found, expected)


@contextmanager
def opened(
    files: Sequence[Path],
    scope: Scope,
    kind: RecordKind,
    *,
    changes: Sequence[Path] = (),
    memory_limit: str,
    scratch: Path,
) -> Iterator[Billing]:
    """A billing over the records of `files` in scope, as they are now.

    `changes`: all files of changes/.  `kind`: in the version that the files are written in.

    Raises StoreError if they can't be read.
    """
    database = connect(memory_limit, scratch)
    try:
        yield Billing(database, files, changes, scope, kind)
    finally:
        database.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as exc:
        raise trouble(exc) from exc


def _named(rule: Rule, currency: str) -> str:
    """What an amount of a rule is in, of records in `currency`."""
    return currency if rule.currency == "currency" else "settled"


def _broken(rule: Rule) -> str:
    return f"({rule.applies}) AND ({rule.differs})"


def _told(rule: Rule) -> str:
    return (
        f"'{rule.name}' AS rule, amount({rule.amount}) AS amount, {rule.currency} AS "
        f"amount_currency, {rule.found} AS found, {rule.expected} AS expected"
    )


def _counts(rule: Rule) -> str:
    amount, broken = f"bounded({rule.amount})", _broken(rule)
    return (
        f"count(*) FILTER ({rule.applies}), count(*) FILTER ({broken}), "
        f"coalesce(sum({amount}) FILTER ({broken} AND {amount} > 0), 0)::HUGEINT, "
        f"coalesce(sum(-{amount}) FILTER ({broken} AND {amount} < 0), 0)::HUGEINT, "
        f"coalesce(sum(bounded(cost_u)) FILTER ({broken}), 0)::HUGEINT"
    )


def _by_currency(sums: Iterable[tuple[str, int]]) -> dict[str, Decimal]:
    found: dict[str, int] = {}
    for currency, amount in sums:
        found[currency] = found.get(currency, 0) + int(amount)
    return {name: of_units(amount) for name, amount in found.items() if amount}


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [batch[name].cast(schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
