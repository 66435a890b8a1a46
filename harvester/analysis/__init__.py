"""What an output holds and whether it can be trusted; this room only reads.

`findings`  what a check has to say, as a value
`places`    where the things of an output lie
`files`     the data set's files against the state database
`engine`    DuckDB within its memory, for queries of the whole data set
`content`   the ids and sums of all of them, out of core (DuckDB)
`tables`    the state database against itself: publications, journal, list, inputs
`standing`  in which states an id may be at once                           (pure)
`ids`       every id against every place where it may stand
`books`     the control totals of every run
`privacy`   who may read what is ours alone
`verify`    all of these, under the output's lock
`lookup`    one id in the data, the list and the state database's tables
`explain`   all that is known of one id
`period`    the days that a question is about                              (pure)
`clock`     which days and months are meant, and which instants they have  (pure)
`scope`     the records of a period, as views (DuckDB)
`figures`   calls, minutes, money, and the field's measures of them        (pure)
`rounding`  the one way in which a figure is rounded                       (pure)
`phrases`   termination codes in words                                     (pure)
`apart`     records without a day or a cost, or with an absurd one (DuckDB)
`prices`    when a price ended and another began                           (pure)
`calls`     the figures by day, destination, code, hour and price (DuckDB)
`loose`     open calls, dead letters and the control totals of the runs
`overview`  all of these, as `harvester report` shows them
`rules`     what an audit expects of a bill                                (pure)
`billing`   the bill against the rules (DuckDB)
`statements` where one SQL statement ends                                  (pure)
`readonly`  which statements only read
`asking`    anybody's SQL over an output (DuckDB)
`plain`     the columns of any query as files have them
`runs`      the runs as rows
`masks`     phone numbers as keyed hashes
`telling`   figures as people read them                                    (pure)
`charts`    charts in SVG                                                  (pure)
`markup`    figures and tables in HTML                                     (pure)
`notes`     what a report says of itself
`style`     how the page looks
`html`      the report as one page that needs nothing else
"""
