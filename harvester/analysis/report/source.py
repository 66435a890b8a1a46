"""Whose records these are, and what their files say of the currencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harvester.analysis.places import Places
from harvester.analysis.report import formatting
from harvester.analysis.report.unfinished import Unknown, ask_ledger
from harvester.dataset.group_record import DEFAULT_CURRENCY
from harvester.dataset.stated import Stated, read_stated
from harvester.errors import StoreError
from harvester.identity import Identity, vendor_of
from harvester.state.belongs import read_identity

PRESUMED = f"{DEFAULT_CURRENCY} presumed"
"""How the figure of `presumed` is called."""


def read_source(places: Places, parts: Sequence[str], command: str) -> Stated:
    """What `parts` say of themselves; what an older version left unsaid, the ledger may know.

    Raises StoreError if a part can't be read.
    """
    found = read_stated(places.cdr, parts)
    own = found.identity
    if own.account and own.addresses:
        return found
    try:
        kept = ask_ledger(places, command, read_identity)
    except StoreError:
        return found  # whoever reads the open and the dead says what is wrong with it
    if isinstance(kept, Unknown):
        return found
    known = Identity(
        account=own.account or kept.account,
        timezone=own.timezone or kept.timezone,
        addresses=own.addresses or kept.addresses,
    )
    return replace(found, identity=known)


def whose(stated: Stated) -> str:
    """Account and vendor, as headers say them: "account acme · api.itniotech.com"."""
    account = stated.identity.account
    named = "account not known" if account is None else f"account {formatting.plain(account)}"
    return " · ".join(filter(None, (named, vendor_of(stated.identity))))


def presumed(stated: Stated) -> tuple[str, str]:
    """(how many, of what): the records of which the vendor named no currency."""
    told = []
    if stated.rows:
        rows = formatting.count(stated.rows)
        told.append(f"of {rows} records read, as the vendor named no currency")
    if stated.silent:
        told.append(f"files of an older version that don't say: {formatting.count(stated.silent)}")
    return formatting.count(stated.presumed) if stated.rows else formatting.NONE, "; ".join(told)
