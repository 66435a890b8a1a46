"""The keys of a part's footer."""

from __future__ import annotations

FOOTER_SCHEMA_VERSION = "cdr.schema_version"
FOOTER_TOOL = "cdr.tool"
FOOTER_PUBLICATION = "cdr.publication"
FOOTER_ROWS = "cdr.rows"
FOOTER_PRESUMED = "cdr.presumed_currency"
FOOTER_MIN_VOICE_ID = "cdr.min_voice_id"
FOOTER_MAX_VOICE_ID = "cdr.max_voice_id"
# Where it is known of some rows alone, of how many: parts of an older version do not say it.
FOOTER_PRESUMED_OF = "cdr.presumed_currency_of"
# Of a part that a rewrite wrote: its number, and which run is of which publication (JSON).
FOOTER_THROUGH = "cdr.through"
FOOTER_RUNS = "cdr.runs"
# Rows that are of another date than the folder: their time was corrected, and rows never move.
FOOTER_OFF_DATE = "cdr.off_date_rows"
# What the output belongs to: the fields of `identity.Identity.encoded`.
FOOTER_ACCOUNT = "cdr.account"
FOOTER_TIMEZONE = "cdr.partition_timezone"
FOOTER_BASE_URLS = "cdr.base_urls"
