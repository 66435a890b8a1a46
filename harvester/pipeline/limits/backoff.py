"""How long an id waits before it is asked again: full jitter.

wait = uniform(0, min(cap, initial * 2^(failures - 1)))

The jitter is drawn under the cap, so that ids that fail together don't come back together, not
even once they have all reached it.  Source: AWS Architecture Blog, "Exponential Backoff And
Jitter" (2015), "full jitter".
"""

from __future__ import annotations


def backoff_s(failures: int, initial_s: float, cap_s: float, dice: float) -> float:
    """Seconds to wait after the `failures`-th failure (1, 2, …); `dice` is uniform in [0, 1)."""
    doublings = min(failures - 1, 64)
    return dice * min(cap_s, initial_s * 2.0**doublings)
