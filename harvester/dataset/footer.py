"""The keys of a part's footer."""

from __future__ import annotations

FOOTER_SCHEMA_VERSION = "cdr.schema_version"
FOOTER_TOOL = "cdr.tool"
FOOTER_PUBLICATION = "cdr.publication"
FOOTER_ROWS = "cdr.rows"
FOOTER_PRESUMED = "cdr.presumed_currency"
FOOTER_MIN_VOICE_ID = "cdr.min_voice_id"
FOOTER_MAX_VOICE_ID = "cdr.max_voice_id"
# What the output belongs to: the fields of `identity.Identity.encoded`.
FOOTER_ACCOUNT = "cdr.account"
FOOTER_TIMEZONE = "cdr.partition_timezone"
FOOTER_BASE_URLS = "cdr.base_urls"
