"""The rate at which requests may be sent with one key. Pure: no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

_FIRST_SPACING, _LONGEST_SPACING = 0.25, 30.0  # seconds; each refusal doubles the spacing
_INCREASE = 0.1  # creates per second that each accepted create adds to the rate
_NO_LIMIT = 20.0  # creates per second at which the limit ends; no person is faster
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 3600.0  # seconds; the first is used without Retry-After
_LONGEST_WAIT = _LONGEST_PAUSE + 100 * _LONGEST_SPACING  # seconds, with 100 kernels in the queue
_FORGOTTEN = 60.0  # seconds without a create after which the limit ends


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate at which requests may be sent with one key. Times are monotonic, in seconds.

    Attributes:
        paused_until: No request is sent before this time.
        spacing: Seconds between two creates; 0 if there is no limit.
        next: The next free turn for a create.
    """

    paused_until: float = 0.0
    spacing: float = 0.0
    next: float = 0.0

    def is_unlimited(self, now: float) -> bool:
        """Whether every request may be sent at once."""
        return self.spacing == 0 and now >= self.paused_until

    def claim_turn(self, now: float) -> tuple[float, Rate]:
        """Return when the next create may be sent, and the rate after it has claimed that turn."""
        idle = now - max(self.next, self.paused_until)
        spacing = 0.0 if idle > _FORGOTTEN else self.spacing
        start = max(now, self.paused_until, self.next)
        return start, replace(self, spacing=spacing, next=start + spacing)

    def after_refusal(self, now: float, sent: float, retry_after: float | None = None) -> Rate:
        """Return the rate after the service has refused a request: a pause, then half the rate.

        Requests that were sent before the answer to an earlier refusal arrived halve the rate only
        once.

        Args:
            now: The time of the response.
            sent: The time at which the request was sent.
            retry_after: Seconds that the service asks to wait.
        """
        spacing = self.spacing
        if sent >= self.paused_until:
            spacing = min(2 * spacing or _FIRST_SPACING, _LONGEST_SPACING)
        pause = min(retry_after or max(_SHORTEST_PAUSE, spacing), _LONGEST_PAUSE)
        return replace(self, spacing=spacing, paused_until=max(self.paused_until, now + pause))

    def after_accepted(self, creates: int = 1) -> Rate:
        """Return the rate after the service has accepted some creates: slightly faster."""
        if self.spacing == 0:
            return self
        faster = 1 / self.spacing + creates * _INCREASE
        return replace(self, spacing=0.0 if faster >= _NO_LIMIT else 1 / faster)

    def shifted(self, seconds: float) -> Rate:
        """Return the same rate on a clock that is ahead by some seconds."""
        return replace(self, paused_until=self.paused_until + seconds, next=self.next + seconds)

    def is_plausible(self, now: float) -> bool:
        """Whether the rate can be right. If not, it was written while a clock was wrong."""
        latest = now + _LONGEST_WAIT
        return (
            self.paused_until <= latest
            and self.next <= latest
            and 0 <= self.spacing <= _LONGEST_SPACING
        )
