"""The commands; the only room that prints.

Data goes to stdout, messages and progress to stderr.  `main` turns what a command raises into an
exit number; each command is a thin module of its own; `console`, `logs`, `progress` and `events`
are the ways out of the process, and `text`, `duration`, `redact`, `sayings`, `endings` and
`screens` decide what is said there.

Nothing here imports pyarrow, duckdb or aiohttp (or a room that does) at its top: `harvester
--help` answers at once.
"""
