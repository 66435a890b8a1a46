"""Where the simulated calls go: the vendor's free text "Country(Region)", and what it means."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A destination: the text as sent, its two halves, and how its numbers begin and how long
    they are."""

    code: str
    country: str
    region: str | None
    prefix: str
    blocks: tuple[str, ...]
    """First digits of the national number."""
    digits: int
    """Of the whole national number."""

    def number(self, draw: int) -> str:
        """A callee of this place, of a draw from 0 up to 10^9."""
        draw, which = divmod(draw, len(self.blocks))
        block = self.blocks[which]
        left = self.digits - len(block)
        return f"{self.prefix}{block}{draw % 10**left:0{left}d}"


# Texts: split at the last outermost parentheses.  Names that hold parentheses themselves are why.
# Numbers: blocks that are in use by the national numbering plans (ITU-T E.164, "National Numbering
# Plans"), mobile but for Seoul's fixed lines.  libphonenumber 9 takes every number of them for
# valid (300 to 2,000 drawn from each block); it is no dependency for the sake of a dozen lines.
PLACES = (
    Place("Afghanistan(Kandahar)", "Afghanistan", "Kandahar", "93", ("70", "77", "79"), 9),
    Place("India(Karnataka)", "India", "Karnataka", "91", ("9448", "9845", "9880"), 10),
    Place("India(Mumbai)", "India", "Mumbai", "91", ("9820", "9833", "9892"), 10),
    Place("Philippines(Globe)", "Philippines", "Globe", "63", ("905", "915", "917", "926"), 10),
    Place("Indonesia(Telkomsel)", "Indonesia", "Telkomsel", "62", ("811", "812", "813", "852"), 11),
    Place("Brazil(São Paulo)", "Brazil", "São Paulo", "55", ("1197", "1198", "1199"), 11),
    Place("中国(广东)", "中国", "广东", "86", ("135", "137", "138", "139"), 11),
    Place(
        "Côte d'Ivoire(Abidjan)", "Côte d'Ivoire", "Abidjan", "225", ("0101", "0505", "0707"), 10
    ),
    Place(
        "Congo (DRC)(Kinshasa)", "Congo (DRC)", "Kinshasa", "243", ("81", "82", "89", "97", "99"), 9
    ),
    Place("Korea(South (Seoul))", "Korea", "South (Seoul)", "82", ("22", "23", "25"), 9),
    Place(
        "Antilles (Curaçao (Willemstad))(Mobile (UTS))",
        "Antilles (Curaçao (Willemstad))",
        "Mobile (UTS)",
        "599",
        ("9510", "9511", "9512", "9560", "9561", "9562", "9666", "9667"),
        8,
    ),
    Place("United Kingdom", "United Kingdom", None, "44", ("7400", "7500", "7811", "7900"), 10),
)
