"""The normalized data: what a record looks like, and the Parquet files that hold it.

`kind`          what is known of a kind of record: its columns, and all that follows  (pure)
`group_record`  the vendor's `recordGroup` as such a kind                             (pure)
`parse`         a vendor's answer -> the text of each of its fields                   (pure)
`columns`       a column of texts -> a typed Arrow column                             (pure)
`normalize`     answers -> a table of their kind                                      (pure)
`usage`         an answer -> what it adds to the control totals                       (pure)
`packing`       tables -> rows of one date, packed
`sort_buffer`   the pieces of a date, until they are sorted and written
`parts`         pieces -> immutable Parquet parts: stage, place, sync
`footer`        the keys of a part's footer
`files`         what lies under cdr/: parts, foreign names, hashes, totals
`inspection`    is a part what its name and its footer say?
`origin`        what a data set belongs to
`stated`        what the footers of parts say in all

What the bytes of an answer mean is decided in `harvester.answers`.  Nothing here knows of the
vendor's transport, of the state database or of the run.  All but `group_record` get the kind as an
argument; who puts the parts together says which.
"""
