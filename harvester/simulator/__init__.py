"""A stand-in vendor, to rehearse a night: it signs nothing, keeps nothing, and forgets no limit.

It shares no code with the client, so that it can't share the client's mistakes.  `calls`, `rates`,
`billing`, `drift`, `render`, `faults`, `replies`, `limit` and `signature` decide; `server` and
`wire` act.
"""

from harvester.simulator.calls import Fates, twin_of
from harvester.simulator.ids import last_whole_day, make_ids, write_ids
from harvester.simulator.options import SimulatorOptions, instant
from harvester.simulator.rates import parse_sheet
from harvester.simulator.server import listening, serve

__all__ = [
    "Fates",
    "SimulatorOptions",
    "instant",
    "last_whole_day",
    "listening",
    "make_ids",
    "parse_sheet",
    "serve",
    "twin_of",
    "write_ids",
]
