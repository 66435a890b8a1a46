"""The headers of a request that nobody checks: bare GETs send these."""

from __future__ import annotations

HEADERS = {
    "Content-Type": "application/json;charset=UTF-8",
    "Sign": "05d7a50893e22a5c4bb3216ae3396c7c",
    "Timestamp": "1630468800",
    "Api-Key": "bDqJFiq9",
}
