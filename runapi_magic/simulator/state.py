"""The simulated service's memory: tasks on a clock, files that expire, money, a log of requests.

Nothing runs in the background. A task is a record of when it was made and how long it takes, and
whatever is asked about it is worked out from the clock at that moment. So a test with a clock of
its own moves a task on by moving the clock.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, Literal

from .catalogue import MEDIAN_SECONDS, price_cents
from .faults import parse_fault
from .records import Task, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .catalogue import Contract
    from .faults import Fault
    from .records import Source

Family = Literal["guide", "namespaced", "both"]

OUTPUT_LIFE_SECONDS: Final = 7 * 24 * 3600
"""Output pictures can be fetched this long after the task's end."""

UPLOAD_LIFE_SECONDS: Final = 3600
"""Uploaded files, and prepared uploads, are kept this long."""

SPREAD: Final = 0.35
"""Sigma of the log-normal durations."""

_BONUS_CENTS: Final = 500
_DAY: Final = 24 * 3600


class KeyConflictError(Exception):
    """An idempotency key came again with another request."""


class Simulator:
    """The whole state of one simulated account.

    Args:
        speed: How many times faster than the real service tasks run. Above 1 the answers carry
            a Retry-After, which is how a hurried simulator tells its clients to look sooner.
        family: Which of the two published families of routes to serve.
        faults: What to do wrong; see `runapi_magic.simulator.faults` for the grammar.
        clock: Returns seconds since 1970. Everything timed is worked out from it.
        seed: Chooses the tasks' durations.
        balance_cents: Credits at the start; 5.00 USD of them (or all, if less) count as bonus.
        rate: So many creates are taken from one key in any second; 0: any number.
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
        """Every request so far: method, host, path, query, body, headers (names), authorized."""
        self.faults: list[Fault] = []
        self._by_key: dict[str, Task] = {}
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)
        for spec in faults:
            self.add_fault(spec)

    # Faults

    def add_fault(self, spec: str) -> Fault:
        """Do this wrong from now on, beside the faults there are.

        Raises:
            ValueError: The text is no fault.
        """
        fault = parse_fault(spec)
        self.faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Do nothing wrong any more. What has already failed stays failed."""
        self.faults.clear()

    def strike(
        self,
        point: str,
        *,
        path: str,
        models: frozenset[str] = frozenset(),
        prompt: str = "",
        without: frozenset[str] = frozenset(),
    ) -> Fault | None:
        """The fault that happens to this request, counted as used; the first that matches.

        Args:
            point: Where the request is, such as ``create``.
            path: The request's URL path.
            models: Names of its model, if it has one.
            prompt: Its prompt, if it has one.
            without: Effects that cannot happen to it now and are not counted.
        """
        for fault in self.faults:
            if fault.point != point or fault.effect in without:
                continue
            if fault.applies(models=models, prompt=prompt, path=path) and fault.strikes():
                return fault
        return None

    def is_too_many(self, key: str) -> bool:
        """Whether this create of a key is one too many in this second; counts it if it is not."""
        now, taken = self.clock(), self._taken[key]
        while taken and taken[0] <= now - 1:
            taken.popleft()
        if self.rate and len(taken) >= self.rate:
            return True
        taken.append(now)
        return False

    # Tasks

    def replayed(self, key: str | None, contract: Contract, body: dict[str, Any]) -> Task | None:
        """The task that this idempotency key already made, if any.

        Raises:
            KeyConflictError: It was made by a different request.
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
        """Make a task of a request that has been checked."""
        number = len(self.tasks) + 1
        now = self.clock()
        median = MEDIAN_SECONDS[body.get("output_resolution") or "1k"]
        draw = random.Random(f"{self.seed}:{key or number}")  # noqa: S311 - durations are no secret
        seconds = draw.lognormvariate(math.log(median), SPREAD) / self.speed
        # The moment is in the id so that a restarted simulator does not hand out an id again that
        # a client's journal still knows.
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
        """Fail a task for good, now, or when it would have ended. It will not be charged."""
        task.failure, task.failed_at = reason, min(self.clock(), task.ends)

    def max_concurrent(self) -> int:
        """The most tasks that were ever under way at the same moment."""
        changes = [(task.created, 1) for task in self.tasks.values()]
        changes += [(task.ends, -1) for task in self.tasks.values()]
        under_way = most = 0
        for _, change in sorted(changes):
            under_way += change
            most = max(most, under_way)
        return most

    # Money, in cents

    @property
    def charged_cents(self) -> int:
        """What all completed tasks cost together."""
        return self._spent_since(-math.inf)

    @property
    def reserved_cents(self) -> int:
        """What the tasks under way will cost."""
        now = self.clock()
        unfinished = (t for t in self.tasks.values() if t.status(now) in {"pending", "processing"})
        return sum(task.cents for task in unfinished)

    def affords(self, cents: int) -> bool:
        """Whether the credits that are not reserved cover this."""
        return self.initial_cents - self.charged_cents - self.reserved_cents >= cents

    def balance(self) -> dict[str, int]:
        """The balance as the service reports it. Bonus credits are spent first."""
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
        """Make room for a file; its bytes come later. Forgets uploads that have expired."""
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
        """A promised or finished upload that has not expired."""
        upload = self.uploads.get(upload_id)
        return upload if upload and upload.expires > self.clock() else None

    def live_output(self, task_id: str, name: str) -> tuple[Task, int] | None:
        """The task and index of an output file that exists and has not expired."""
        task = self.tasks.get(task_id)
        stem, _, suffix = name.partition(".")
        if not task or task.files_expired or not stem.isdecimal() or suffix != task.suffix:
            return None
        now = self.clock()
        if task.status(now) != "completed" or now >= task.ends + OUTPUT_LIFE_SECONDS:
            return None
        return (task, int(stem)) if int(stem) < task.image_count else None

    def expire(self, file_id: str | None = None) -> int:
        """Let the files of this task or upload, or of all, expire now; returns of how many.

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
        """Everything a test wants to know, as JSON; what ``GET /_simulator/state`` answers."""
        now = self.clock()
        return {
            "tasks_created": len(self.tasks),
            "tasks": [
                {
                    "id": task.id,
                    "model": task.model,
                    "action": task.contract.action,
                    "body": task.body,
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
