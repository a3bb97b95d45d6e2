"""State of the simulated service: tasks, files, money and a log of requests.

Nothing runs in the background. A task stores when it was created and how long it takes. Its status
is calculated from the clock when a request needs it. A test with its own clock moves the clock to
make a task progress.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, Literal

from runapi_magic.simulator.catalog import MEDIAN_SECONDS, price_cents
from runapi_magic.simulator.faults import parse_fault
from runapi_magic.simulator.records import Task, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runapi_magic.simulator.catalog import Contract
    from runapi_magic.simulator.faults import Fault
    from runapi_magic.simulator.records import Source

Family = Literal["guide", "namespaced", "both"]

OUTPUT_LIFE_SECONDS: Final = 7 * 24 * 3600
"""Output images can be downloaded this long after the task's end."""

UPLOAD_LIFE_SECONDS: Final = 3600
"""Uploaded files and prepared uploads are kept this long."""

SPREAD: Final = 0.35
"""Sigma of the log-normal durations."""

_BONUS_CENTS: Final = 500
_DAY: Final = 24 * 3600


class KeyConflictError(Exception):
    """An idempotency key was used again for a different request."""


class Simulator:
    """The state of one simulated account.

    Args:
        speed: Time scale: how many times faster than the real service tasks run. Above 1,
            responses about unfinished tasks have a Retry-After, so that clients poll sooner.
        family: Which of the two published families of routes to serve.
        faults: Faults to start with; `runapi_magic.simulator.faults` describes their syntax.
        clock: Returns seconds since 1970. All times are calculated from it.
        seed: Seed for the durations of tasks.
        balance_cents: Credits at the start. Up to 5.00 USD of them count as bonus.
        rate: Maximum number of create requests per key in any second; 0: no limit.
    """

    def __init__(
        self,
        *,
        speed: float = 20.0,
        family: Family = "both",
        faults: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        seed: int = 0,
        balance_cents: int = 10_000,
        rate: int = 0,
    ) -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"speed must be a positive number, not {speed}")
        if family not in {"guide", "namespaced", "both"}:
            raise ValueError(f"family must be guide, namespaced or both, not {family!r}")
        if rate < 0:
            raise ValueError(f"rate must be 0 or more, not {rate}")
        self.speed = speed
        self.rate = rate
        self.family: Family = family
        self.clock = clock
        self.seed = seed
        self.initial_cents = balance_cents
        self.tasks: dict[str, Task] = {}
        """Task id -> task, oldest first."""
        self.uploads: dict[str, Upload] = {}
        self.requests: list[dict[str, Any]] = []
        """All requests: method, host, path, query, body, headers (names only), authorized."""
        self.faults: list[Fault] = []
        self._by_key: dict[str, Task] = {}
        self._recent_creates: defaultdict[str, deque[float]] = defaultdict(deque)
        for spec in faults:
            self.add_fault(spec)

    # Faults

    def add_fault(self, spec: str) -> Fault:
        """Add a fault to the existing ones.

        Raises:
            ValueError: The text is not a valid fault.
        """
        fault = parse_fault(spec)
        self.faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Remove all faults. Tasks that have failed stay failed."""
        self.faults.clear()

    def match_fault(
        self,
        point: str,
        *,
        path: str,
        models: frozenset[str] = frozenset(),
        prompt: str = "",
        excluded: frozenset[str] = frozenset(),
    ) -> Fault | None:
        """Return the first fault that applies to this request, and count it as used.

        Matching faults before it count the request, too (for ``skip``).

        Args:
            point: Point of the request, such as ``create``.
            path: URL path of the request.
            models: Names of the request's model, if it has one.
            prompt: Prompt of the request, if it has one.
            excluded: Effects that cannot apply to this request now. They are not counted.
        """
        for fault in self.faults:
            if fault.point != point or fault.effect in excluded:
                continue
            if fault.matches(models=models, prompt=prompt, path=path) and fault.count_request():
                return fault
        return None

    def exceeds_rate(self, key: str) -> bool:
        """Return whether a create request exceeds the key's limit. Count it if it does not."""
        now, recent = self.clock(), self._recent_creates[key]
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if self.rate and len(recent) >= self.rate:
            return True
        recent.append(now)
        return False

    # Tasks

    def task_for_key(
        self, key: str | None, contract: Contract, body: dict[str, Any]
    ) -> Task | None:
        """Return the task that this idempotency key already created, if any.

        Raises:
            KeyConflictError: The key was used for a different request.
        """
        task = self._by_key.get(key) if key else None
        if task and (task.contract, task.body) != (contract, body):
            raise KeyConflictError
        return task

    def create(
        self,
        contract: Contract,
        body: dict[str, Any],
        *,
        key: str | None = None,
        sources: tuple[Source, ...] = (),
        mask: Source | None = None,
    ) -> Task:
        """Create a task for a validated request."""
        number = len(self.tasks) + 1
        now = self.clock()
        median = MEDIAN_SECONDS[body.get("output_resolution") or "1k"]
        draw = random.Random(f"{self.seed}:{key or number}")  # noqa: S311 - not used for security
        seconds = draw.lognormvariate(math.log(median), SPREAD) / self.speed
        # The id depends on the time: a restarted simulator must not use an id again that is in a
        # client's journal.
        digest = hashlib.sha256(f"{self.seed}:{number}:{now!r}".encode()).hexdigest()
        task = Task(
            id=f"tsk_{digest[:16]}",
            number=number,
            contract=contract,
            model=str(body.get("model") or contract.model),
            body=body,
            idempotency_key=key,
            created=now,
            duration=seconds,
            cents=price_cents(contract, body),
            sources=sources,
            mask=mask,
            variation=sum(
                (other.contract, other.body) == (contract, body) for other in self.tasks.values()
            ),
        )
        self.tasks[task.id] = task
        if key:
            self._by_key[key] = task
        return task

    def fail(self, task: Task, reason: str) -> None:
        """Make a task fail permanently, now or at its end if that is earlier. It costs nothing."""
        task.failure, task.failed_at = reason, min(self.clock(), task.ends)

    def max_concurrent(self) -> int:
        """Return the largest number of tasks that were running at the same time."""
        changes = [(task.created, 1) for task in self.tasks.values()]
        changes += [(task.ends, -1) for task in self.tasks.values()]
        running = most = 0
        for _, change in sorted(changes):
            running += change
            most = max(most, running)
        return most

    # Money, in cents

    @property
    def charged_cents(self) -> int:
        """Total price of all completed tasks."""
        return self._spent_since(-math.inf)

    @property
    def reserved_cents(self) -> int:
        """Total price of all running tasks."""
        now = self.clock()
        unfinished = (t for t in self.tasks.values() if t.status(now) in {"pending", "processing"})
        return sum(task.cents for task in unfinished)

    def can_afford(self, cents: int) -> bool:
        """Return whether the credits that are not reserved cover this amount."""
        return self.initial_cents - self.charged_cents - self.reserved_cents >= cents

    def balance(self) -> dict[str, int]:
        """Return the balance as the service reports it. Bonus credits are spent first."""
        charged = self.charged_cents
        left = self.initial_cents - charged
        bonus = max(0, min(_BONUS_CENTS, self.initial_cents) - charged)
        midnight = self.clock() // _DAY * _DAY
        return {
            "balance_cents": left,
            "paid_balance_cents": left - bonus,
            "bonus_balance_cents": bonus,
            "spent_cents_today": self._spent_since(midnight),
            "spent_cents_total": charged,
        }

    def _spent_since(self, moment: float) -> int:
        now = self.clock()
        done = (task for task in self.tasks.values() if task.status(now) == "completed")
        return sum(task.cents for task in done if task.ends >= moment)

    # Files

    def prepare_upload(
        self, name: str, *, byte_size: int = 0, checksum: str = "", mime_type: str = ""
    ) -> Upload:
        """Add an upload without bytes. Removes expired uploads."""
        now = self.clock()
        for stale in [u.id for u in self.uploads.values() if u.expires <= now]:
            del self.uploads[stale]
        digest = hashlib.sha256(f"{self.seed}:{now!r}:{len(self.requests)}:{name}".encode())
        upload = Upload(
            id=f"upl_{digest.hexdigest()[:24]}",
            name=name,
            created=now,
            expires=now + UPLOAD_LIFE_SECONDS,
            byte_size=byte_size,
            checksum=checksum,
            mime_type=mime_type,
        )
        self.uploads[upload.id] = upload
        return upload

    def live_upload(self, upload_id: str) -> Upload | None:
        """Return an upload (with or without bytes) that has not expired."""
        upload = self.uploads.get(upload_id)
        return upload if upload and upload.expires > self.clock() else None

    def live_output(self, task_id: str, name: str) -> tuple[Task, int] | None:
        """Return the task and the index of an output file that exists and has not expired."""
        task = self.tasks.get(task_id)
        stem, _, suffix = name.partition(".")
        if not task or task.files_expired or not stem.isdecimal() or suffix != task.suffix:
            return None
        now = self.clock()
        if task.status(now) != "completed" or now >= task.ends + OUTPUT_LIFE_SECONDS:
            return None
        return (task, int(stem)) if int(stem) < task.image_count else None

    def expire(self, file_id: str | None = None) -> int:
        """Expire the files of one task or upload, or of all. Return how many expired.

        Raises:
            KeyError: There is no such task or upload.
        """
        if file_id is not None and file_id not in {*self.tasks, *self.uploads}:
            raise KeyError(file_id)
        expired = 0
        for task in self.tasks.values():
            if file_id in {None, task.id}:
                task.files_expired = True
                expired += 1
        for upload in self.uploads.values():
            if file_id in {None, upload.id}:
                upload.expires = self.clock()
                expired += 1
        return expired

    def snapshot(self) -> dict[str, Any]:
        """Return the state as JSON, for tests and for ``GET /_simulator/state``."""
        now = self.clock()
        return {
            "tasks_created": len(self.tasks),
            "tasks": [
                {
                    "id": task.id,
                    "model": task.model,
                    "action": task.contract.action,
                    "body": task.body,
                    "cents": task.cents,
                    "status": task.status(now),
                    "idempotency_key": task.idempotency_key,
                    "created": task.created,
                    "ends": task.ends,
                }
                for task in self.tasks.values()
            ],
            "requests": self.requests,
            "charged_cents": self.charged_cents,
            "max_concurrent": self.max_concurrent(),
            "faults": [{"spec": fault.spec, "used": fault.used} for fault in self.faults],
        }
