"""The prices on buttons: what a click costs stands there before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic.core.text import dollars
from runapi_magic.widgets.drawers import button

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import ipywidgets as widgets

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.backend import Price, Service
    from runapi_magic.widgets.drawers import Run


def priced(words: str, price: Price | None) -> str:
    """Return a button's words with the price of a click on it."""
    if price is None:
        return f"{words} (price not known)"
    return f"{words} ({'' if price.is_quote else 'about '}{dollars(price.usd)})"


class PricedButton:
    """A button that starts a paid task with one click.

    While its price is being asked for, a click starts nothing.

    Args:
        words: What it does.
        hint: Its tooltip.
        run: Calls a function on the kernel's loop.
        act: Starts the task.
        say: Tells the user something.
        beside: See ``drawers.button``.

    Attributes:
        widget: The button itself.
    """

    def __init__(
        self,
        words: str,
        hint: str,
        run: Run,
        act: Callable[[], object],
        say: Callable[[str], None],
        *,
        beside: widgets.Button | None = None,
    ) -> None:
        self._words, self._act, self._say = words, act, say
        self._request: ImageRequest | None = None
        self._is_asking = False
        self.widget = button(words, hint, run, self._click, beside=beside)

    def show_price(self, service: Service, request: ImageRequest) -> Coroutine[Any, Any, None]:
        """Put what is known of a request's price on the button; return what brings the quote."""
        self._request = request
        price = service.known_price(request)
        self._is_asking = price is None
        asking = f"{self._words} (asking for the price)"
        self.widget.description = asking if price is None else priced(self._words, price)
        return self._show_quote(service, request)

    async def _show_quote(self, service: Service, request: ImageRequest) -> None:
        price = None
        try:
            price = await service.price(request)
        finally:
            if self._request is request:  # else another picture is shown by now
                self._is_asking = False
                self.widget.description = priced(self._words, price)

    def _click(self) -> None:
        if self._is_asking:
            self._say("The price is not known yet. Nothing was sent. Click again in a moment.")
        else:
            self._act()
