"""What a refusal by the vendor means, and what to check.

Source: vendor page recordGroup (the table of statuses).
"""

from __future__ import annotations


def refusal_message(what: str) -> str:
    """What was refused, and what to check."""
    told = _REFUSALS.get(what, _WRONG_ADDRESS if what in _ADDRESS_CODES else _FORBIDDEN)
    return (
        f"the vendor denies access ({what.replace('_', ' ')}): {told} Nothing is lost: the ids "
        "stay pending. Correct it and run the same command again."
    )


def refusal_code(what: str) -> str:
    """The code of a refusal, `vendor.denied.…`."""
    return _CODES.get(what, f"{_DENIED}.{'address' if what in _ADDRESS_CODES else 'forbidden'}")


_DENIED = "vendor.denied"
_CODES = {
    "-1": f"{_DENIED}.sign",
    "-2": f"{_DENIED}.ip",
    "-13": f"{_DENIED}.account",
    "-16": f"{_DENIED}.clock",
    "-29": f"{_DENIED}.workspace",
    "-30": f"{_DENIED}.key",
    "-31": f"{_DENIED}.ip",
    "-32": f"{_DENIED}.application",
}
_REFUSALS = {
    "-1": "the key or the signature is wrong. Check HARVESTER_API_KEY and HARVESTER_API_SECRET.",
    "-2": "this IP address is not allowed. Ask the vendor to allow it, or run from one that is.",
    "-13": "the account is locked. Ask the vendor.",
    "-16": "the timestamp is outside its window, though it was corrected by the vendor's own Date. "
    "Check this machine's clock (NTP) and any proxy between.",
    "-29": "the workspace is disabled. Ask the vendor.",
    "-30": "the key is disabled. Ask the vendor for a new one.",
    "-31": "this IP address is not on the key's allow-list. Add it in the vendor's console.",
    "-32": "the key may not use this application. Check which application it belongs to.",
}
_WRONG_ADDRESS = "there is no such address. Check vendor.base_url, its prefix above all."
_FORBIDDEN = "access is forbidden on the way. Check key, allow-list and any proxy between."
_ADDRESS_CODES = frozenset(
    {"http_404", "http_405", "http_410"} | {f"http_{code}" for code in range(300, 400)}
)
