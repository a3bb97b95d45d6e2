"""How fast requests may leave under one key. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

_FIRST_SPACING, _LONGEST_SPACING = 0.25, 30.0  # seconds; doubled by each refusal
_INCREASE = 0.1  # creates a second that each create that is taken adds to the rate
_NO_LIMIT = 20.0  # creates a second from which on none are held back; no person is faster
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 3600.0  # seconds; the first where the service names none
_LONGEST_WAIT = _LONGEST_PAUSE + 100 * _LONGEST_SPACING  # seconds, with 100 kernels in line
_FORGOTTEN = 60.0  # seconds without a create until the limit counts as over


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast requests may leave under one key. Times are monotonic, in seconds.

    Attributes:
        paused_until: Until then nothing leaves.
        spacing: Seconds between two creates; 0 for no limit.
        next: The next free turn for a create.
    """

    paused_until: float = 0.0
    spacing: float = 0.0
    next: float = 0.0

    def is_free(self, now: float) -> bool:
        """Whether every request may leave at once."""
        return self.spacing == 0 and now >= self.paused_until

    def take(self, now: float) -> tuple[float, Rate]:
        """Return when the next create may leave, and the rate after it has taken that turn."""
        idle = now - max(self.next, self.paused_until)
        spacing = 0.0 if idle > _FORGOTTEN else self.spacing
        start = max(now, self.paused_until, self.next)
        return start, replace(self, spacing=spacing, next=start + spacing)

    def refused(self, now: float, sent: float, told: float | None = None) -> Rate:
        """Return the rate after the service has refused a request: a pause, and half as fast.

        What had left before an earlier refusal was heard of slows down only once.

        Args:
            now: The moment of the answer.
            sent: The moment at which the request left.
            told: Seconds that the service asks to wait.
        """
        spacing = self.spacing
        if sent >= self.paused_until:
            spacing = min(2 * spacing or _FIRST_SPACING, _LONGEST_SPACING)
        pause = min(told or max(_SHORTEST_PAUSE, spacing), _LONGEST_PAUSE)
        return replace(self, spacing=spacing, paused_until=max(self.paused_until, now + pause))

    def moved(self, seconds: float) -> Rate:
        """Return the same rate on a clock that is so many seconds ahead."""
        return replace(self, paused_until=self.paused_until + seconds, next=self.next + seconds)

    def is_sensible(self, now: float) -> bool:
        """Whether a service and a clock that is right can have led to this."""
        latest = now + _LONGEST_WAIT
        return (
            self.paused_until <= latest
            and self.next <= latest
            and 0 <= self.spacing <= _LONGEST_SPACING
        )

    def taken(self, creates: int = 1) -> Rate:
        """Return the rate after the service has taken so many creates: a little faster."""
        if self.spacing == 0:
            return self
        faster = 1 / self.spacing + creates * _INCREASE
        return replace(self, spacing=0.0 if faster >= _NO_LIMIT else 1 / faster)
