"""The words for where a task, a request and an item of a batch are."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Literal


class TaskStatus(StrEnum):
    """Where a task is. ``UNKNOWN`` is a word that no contract has: it is not the end."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether the service is done with the task."""
        return self in {TaskStatus.COMPLETED, TaskStatus.FAILED}


Status = Literal["pending", "processing", "completed", "failed", "cancelled"]


class Phase(Enum):
    """What is being done for a task, in the words that a user reads under the cell.

    It is for display. What it means for the money is the task's ``Stage``.
    """

    PREPARING = "Preparing the request"
    PRICING = "Asking for the price; nothing is sent before"
    ASKING = "Waiting for your click above; nothing is sent before"
    SOURCE = "Waiting for the source picture"
    QUEUED = "Waiting for its turn"
    SENDING = "Sending the request"
    THROTTLED = "Waiting for the rate limit"
    UPLOADING = "Uploading the source picture"
    DRAWING = "The service is drawing"
    FETCHING = "Fetching the picture"
    JOINED = "Another cell asked for the same picture; waiting for it"


AWAITING_APPROVAL = {Phase.PRICING, Phase.ASKING}


ItemStatus = Literal["waiting", "running", "completed", "partial", "failed", "cancelled"]


class Stage(Enum):
    """What is known of a task at the service, which decides whether it may be charged.

    The state machine of ``TaskState``. What is being done meanwhile is the task's ``Phase``.
    """

    PLANNED = "planned"  # the service has no task
    SENT = "sent"  # the service may have a task
    KNOWN = "known"  # the service works on the task
    DONE = "done"  # the service has ended the task
    JOINED = "joined"  # another cell or kernel looks after the task
