"""Numbers and strangers' text, made fit for a terminal."""

from __future__ import annotations

import re
import textwrap
import time

_UNITS = ("B", "KB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """`text` with whatever a terminal could act on written as an escape; line ends stay.

    Ids, paths and answers are written by others: an escape sequence or a direction mark in one of
    them must not repaint the screen of whoever reads about it.
    """
    return "".join(char if char == "\n" or char.isprintable() else _escape(char) for char in text)


def one_line(text: str) -> str:
    """As `printable`, line ends escaped as well."""
    return printable(text).replace("\n", "\\n")


def folded(text: str, width: int) -> list[str]:
    """A line as lines of at most `width` characters, broken between words.

    What goes on below begins under the text of the first line, right of its label and figure. A
    word that is longer than a line, such as a path, stays whole: so it can be copied.
    """
    if len(text) <= width:
        return [text]
    longest = max(map(len, text.split(" ")))
    hang = min(_text_column(text, width // 2), max(0, width - longest))
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text_column(text: str, most: int) -> int:
    """Where the text of a line begins: after the last gap of two spaces in its first half."""
    gaps = [gap.end() for gap in _GAP.finditer(text) if gap.end() <= most]
    return gaps[-1] if gaps else 0


_GAP = re.compile(r"^ +| {2,}")


def count(number: float) -> str:
    """12345 -> "12,345"."""
    return f"{number:,.0f}"


def speed(per_s: float) -> str:
    """A number a second; small ones to the tenth."""
    return count(per_s) if per_s >= 10 or not per_s else f"{per_s:.1f}"


def share(part: float, whole: float) -> str:
    """Per cent, never rounded up to a whole that isn't reached."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    return f"{int(percent)} %" if percent >= 1 or not part else "<1 %"


def span(seconds: float) -> str:
    """A length of time in its two largest units: "2 d 3 h", "4 min 10 s", "12 s"."""
    left = round(seconds)
    if left < 1:
        return "under 1 s"
    pieces = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount:
            pieces.append(f"{amount} {unit}")
        elif pieces:
            break
    return " ".join(pieces[:2])


def size(number: float) -> str:
    """12345678 bytes -> "12.3 MB"."""
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {_UNITS[-1]}"


def local_time(unix_s: float) -> str:
    """An instant on this machine's clock, with its zone."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(unix_s))


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
