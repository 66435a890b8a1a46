"""What became of every id: state.db, and all SQL that it is asked in.  Others call functions.

`database`      the tables; opening, migrating, transactions
`read_only`     the same as it stands, for whoever must not change a byte
`values`        what is kept, as values
`acknowledge`   the one transaction after which no crash loses an outcome
`work_lists`    inputs, the list in force, which of its rows are settled
`bitmap`        the settled rows of a chunk                                       (pure)
`journal`       answers on their way to the data set, packed                      (pure)
`publications`  the journal's rows, and how far each publication has come
`unresolved`    open calls, dead letters, deferred ids: rows and values
`id_counts`     the one count of where every id stands
`run_records`   the runs, and their order
`between_runs`  requests of each day, the vendor's clock, what else the next run needs
`belongs`       account, time zone and addresses of the output
`restore`       a database made again from what lies in the output
`lock`          one process at a time
`writer`        the thread that a run's questions pass through
"""
