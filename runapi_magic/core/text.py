"""Short texts: one line of a prompt, an amount of dollars."""

from __future__ import annotations


def dollars(usd: float) -> str:
    """Return US dollars with two digits, or up to four where the cost has them."""
    whole, _, cents = f"{usd:.4f}".rstrip("0").partition(".")
    return f"${whole}.{cents:0<2}"
