"""The normalized data: what a record looks like, and the Parquet files that hold it.

`schema`     the columns, and which field of the vendor each comes from
`reading`    a vendor's answer -> the text of each of its fields                (pure)
`columns`    a column of texts -> a typed Arrow column                          (pure)
`normalize`  answers -> a table of the schema                                   (pure)
`usage`      an answer -> what it adds to the books                             (pure)
`disk`       the few things we do to a file system, so that a test can break it
`pieces`     tables -> rows of one date, packed
`held`       the pieces of a date, until they are sorted and written
`parts`      pieces -> immutable Parquet parts: stage, place, sync
`dataset`    what lies under cdr/: parts, foreign names, hashes, totals
`unneeded`   packages that pyarrow would look for, and nobody here needs

What the bytes of an answer mean is decided in `harvester.answers`.  This room knows nothing of
the vendor's transport, of the state store or of the run.
"""
