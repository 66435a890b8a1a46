"""voiceIds: find the files that hold them, clean their lines, make the work list, read it.

This room owns the way from a user's files to a sorted list of ids without duplicates.  It does
not know what an id is asked for, and it keeps no state: where the settled ids and the old list
come from, and what becomes of the new one, is the caller's business.

`clean` decides; `files` and `fingerprint` look; `worklist` has the list made by a child process
(`child`, `listing` and the modules they read with), the only one that loads DuckDB; `reader`
serves the finished list to the run.
"""
