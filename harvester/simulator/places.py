"""Where the simulated calls go: the vendor's free text "Country(Region)", and what it means."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A destination: the text as sent, its two halves, and the dialling prefix."""

    code: str
    country: str
    region: str | None
    prefix: str


# Split at the last outermost parentheses.  Names that hold parentheses themselves are why.
PLACES = (
    Place("Afghanistan(Kandahar)", "Afghanistan", "Kandahar", "93"),
    Place("India(Karnataka)", "India", "Karnataka", "91"),
    Place("India(Mumbai)", "India", "Mumbai", "91"),
    Place("Philippines(Globe)", "Philippines", "Globe", "63"),
    Place("Indonesia(Telkomsel)", "Indonesia", "Telkomsel", "62"),
    Place("Brazil(São Paulo)", "Brazil", "São Paulo", "55"),
    Place("中国(广东)", "中国", "广东", "86"),
    Place("Côte d'Ivoire(Abidjan)", "Côte d'Ivoire", "Abidjan", "225"),
    Place("Congo (DRC)(Kinshasa)", "Congo (DRC)", "Kinshasa", "243"),
    Place("Korea(South (Seoul))", "Korea", "South (Seoul)", "82"),
    Place(
        "Antilles (Curaçao (Willemstad))(Mobile (UTS))",
        "Antilles (Curaçao (Willemstad))",
        "Mobile (UTS)",
        "599",
    ),
    Place("United Kingdom", "United Kingdom", None, "44"),
)
