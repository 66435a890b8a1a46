"""What an output belongs to: one account, one time zone of its days, and one vendor's address.

Theory of operation.  Each is taken from the settings when the first answer is kept, and is the
output's own from then on: in the state database, in the footer of every part, and in the snapshots.
A setting that was set and says otherwise is refused; one that was not set is the output's own.

The address is compared normalised, and only by who sends requests.  Whatever listens on this
machine is one stand-in, on any port, that never mixes with a real vendor.  An output may be given
another address on purpose (`run --rebind`), so it has a list of them, oldest first: of two lists
that belong together, one begins with the other.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from harvester.config import Config, check
from harvester.errors import ConfigError

STAND_IN = "a stand-in vendor on this machine"
_PORTS = {"http": 80, "https": 443}
_UNRESERVED = r"%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])"
_ESCAPED = re.compile(r"%[0-9a-fA-F]{2}")
_HOURS = range(1_704_067_200, 1_924_992_000, 3600)
"""Of 2024 to 2030, as seconds since 1970: the vendor keeps two months, and rules go on as they are.
"""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What an output, or a part of one, says that it belongs to; None and (): it does not say."""

    account: str | None = None
    timezone: str | None = None
    """IANA name: whose dates name the folders."""
    addresses: tuple[str, ...] = ()
    """Each `vendor.base_url` that it was given, as it was set, oldest first."""

    @classmethod
    def of(cls, config: Config) -> Self:
        """That of an output that these settings begin."""
        return cls(
            account=config.vendor.account,
            timezone=config.output.partition_timezone,
            addresses=(config.vendor.base_url,),
        )

    def encoded(self) -> dict[str, str]:
        """Its fields that say something, as text."""
        found = {"account": self.account, "partition_timezone": self.timezone}
        addresses = msgspec.json.encode(self.addresses).decode() if self.addresses else None
        return {k: v for k, v in {**found, "base_urls": addresses}.items() if v is not None}

    @classmethod
    def decoded(cls, fields: Mapping[str, str]) -> Self:
        """What `encoded` gave.  Raises ValueError if it is none of ours."""
        addresses = fields.get("base_urls")
        return cls(
            account=fields.get("account"),
            timezone=fields.get("partition_timezone"),
            addresses=msgspec.json.decode(addresses, type=tuple[str, ...]) if addresses else (),
        )


def settled(config: Config, own: Identity, *, rebind: bool | None = None) -> Config:
    """The settings, with the output's own in place of what was not set.

    `rebind` None: nothing will be sent, so the address is not compared; True: another one is meant.
    Raises ConfigError naming both, where one was set and differs.
    """
    where = config.output.dir
    vendor, output = config.vendor, config.output
    if own.account is not None:
        if config.is_set("vendor.account") and vendor.account != own.account:
            raise ConfigError(
                f"the output of {where} belongs to account {own.account!r}, not "
                f"{vendor.account!r}. Use another --out for this account, or set vendor.account "
                "back.",
                code="state.belongs.account",
            )
        vendor = replace(vendor, account=own.account)
    if own.timezone is not None:
        given = output.partition_timezone
        if config.is_set("output.partition_timezone") and not same_dates(given, own.timezone):
            raise ConfigError(
                f"the days of {where} are those of {own.timezone}, but "
                f"output.partition_timezone is set to {given}. Set it back or leave it out; for "
                "days of another zone, harvest into another --out.",
                code="state.belongs.timezone",
            )
        output = replace(output, partition_timezone=own.timezone)
    if own.addresses and rebind is not None:
        vendor = replace(vendor, base_url=_address(config, own.addresses[-1], rebind=rebind))
    found = replace(config, vendor=vendor, output=output)
    check(found)
    return found


def _address(config: Config, own: str, *, rebind: bool) -> str:
    given = config.vendor.base_url
    if not config.is_set("vendor.base_url"):
        return own
    if rebind or same_address(given, own):
        return given
    raise ConfigError(
        f"the records of {config.output.dir} come from {_named(own)}, but vendor.base_url is set "
        f"to {_named(given)}. Use another --out for another vendor. If it is the same vendor at a "
        "new address or through a tunnel, name it once with `harvester run --rebind`.",
        code="state.belongs.address",
    )


def with_address(own: Identity, config: Config) -> Identity:
    """`own`, asking at the address of `config` from now on."""
    now = config.vendor.base_url
    if own.addresses and same_address(own.addresses[-1], now):
        return replace(own, addresses=(*own.addresses[:-1], now))
    return replace(own, addresses=(*own.addresses, now))


def same_address(one: str, other: str) -> bool:
    """Whether two values of `vendor.base_url` name the same place."""
    return normal_address(one) == normal_address(other)


def normal_address(url: str) -> str:
    """`url` as it is compared; every address of this machine is the same."""
    parts = urlsplit(url)
    host = _host(parts.hostname or "")
    if f".{host}".endswith(".localhost") or _is_here(host):
        return STAND_IN
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}{port}{_path(parts.path)}"


def proof_of(base_url: str, whose: str, state_id: str) -> str:
    """What stands for an address and `whose` it is (a key, an account), and shows neither.

    So that what was found out there is not believed of another one.
    """
    text = f"{normal_address(base_url)} {whose}"
    return hashlib.blake2s(text.encode(), key=state_id.encode(), digest_size=16).hexdigest()


def vendor_of(identity: Identity) -> str:
    """Who sent the records, by the hosts of its addresses; "" where it names none."""
    found = {}
    for url in identity.addresses:
        normal = normal_address(url)
        found[normal if normal == STAND_IN else urlsplit(normal).hostname or normal] = True
    return ", ".join(found)


def _host(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return host.rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        return host.rstrip(".").lower()


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    here = mapped or address
    return here.is_loopback or here.is_unspecified


def _path(path: str) -> str:
    """Without dot segments, without a slash at its end, and no more escaped than it must be."""
    plain = re.sub(_UNRESERVED, lambda found: unquote(found[0]), path) if "%" in path else path
    plain = _ESCAPED.sub(lambda found: found[0].upper(), plain)
    kept: list[str] = []
    for segment in plain.split("/"):
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept).rstrip("/")


def _named(url: str) -> str:
    return f"{STAND_IN} ({url})" if normal_address(url) == STAND_IN else url


def same_dates(one: str, other: str) -> bool:
    """Whether two time zones have the same days: names differ, `Etc/UTC` is UTC."""
    if one == other:
        return True
    zone, another = ZoneInfo(one), ZoneInfo(other)
    return all(_offset(at, zone) == _offset(at, another) for at in _HOURS)


def _offset(at: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


def merged(found: Mapping[str, Identity]) -> tuple[Identity, tuple[str, ...]]:
    """What parts agree on, by their names; and of two that do not: (one, what it says, the other,
    what that says)."""
    whole, sources = Identity(), dict.fromkeys(Identity.__struct_fields__, "")
    for name, identity in found.items():
        field = disagreement(whole, identity)
        if field:
            return whole, (sources[field], told(whole, field), name, told(identity, field))
        for field in Identity.__struct_fields__:
            known, new = getattr(whole, field), getattr(identity, field)
            if new and (not known or (field == "addresses" and len(new) > len(known))):
                whole = replace(whole, **{field: new})
                sources[field] = name
    return whole, ()


def disagreement(one: Identity, other: Identity) -> str:
    """The field in which the two say what can't both be; "" for none."""
    if one.account and other.account and one.account != other.account:
        return "account"
    if one.timezone and other.timezone and not same_dates(one.timezone, other.timezone):
        return "timezone"
    pairs = zip(one.addresses, other.addresses, strict=False)
    return "" if all(same_address(*pair) for pair in pairs) else "addresses"


def told(identity: Identity, field: str) -> str:
    """What it says of one field, as text."""
    return {
        "account": f"account {identity.account}",
        "timezone": f"days of {identity.timezone}",
        "addresses": f"records of {', '.join(identity.addresses)}",
    }[field]
