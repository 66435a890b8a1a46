"""What an answer's bytes mean: one place for verdict, control totals and rows.

`answer`    an answer that was delivered, with its id, time and run            (pure)
`opening`   the bytes of an answer -> its members, each as a JSON literal     (pure)
`literals`  one literal -> an amount, a duration, an instant                  (pure)
`times`     which times count, and whether the call is over                   (pure)
"""
