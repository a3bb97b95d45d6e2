"""Short texts: one line of a prompt, an amount of dollars."""

from __future__ import annotations


def dollars(usd: float) -> str:
    """Return US dollars with two digits, or up to four where the cost has them."""
    whole, _, cents = f"{usd:.4f}".rstrip("0").partition(".")
    return f"${whole}.{cents:0<2}"


def shorten(text: str, longest: int) -> str:
    """Return a text on one line, without control characters, of so many characters at most."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
