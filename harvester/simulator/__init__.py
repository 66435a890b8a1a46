"""A stand-in vendor, to rehearse a night: it signs nothing, keeps nothing, and forgets no limit.

It shares no code with the client, so that it can't share the client's mistakes.  `calls`, `drift`,
`render`, `faults`, `replies`, `limit` and `signature` decide; `server` and `wire` act.
"""

from harvester.simulator.calls import Fates
from harvester.simulator.ids import last_whole_day, make_ids, write_ids
from harvester.simulator.options import SimulatorOptions, instant
from harvester.simulator.server import listening, serve

__all__ = [
    "Fates",
    "SimulatorOptions",
    "instant",
    "last_whole_day",
    "listening",
    "make_ids",
    "serve",
    "write_ids",
]
