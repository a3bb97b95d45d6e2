"""Format amounts of money, and shorten texts."""

from __future__ import annotations


def dollars(usd: float) -> str:
    """Return US dollars with two decimals, or up to four if the amount has them."""
    whole, _, cents = f"{usd:.4f}".rstrip("0").partition(".")
    return f"${whole}.{cents:0<2}"


def shorten(text: str, longest: int) -> str:
    """Return a text as one line without control characters, cut to a number of characters."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
