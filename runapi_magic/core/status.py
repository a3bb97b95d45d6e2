"""The words for the progress of a task, a request and an item of a batch."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Literal


class TaskStatus(StrEnum):
    """The status of a task at the service.

    ``UNKNOWN`` is any word that RunAPI has not published. Such a task is not finished.
    """

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether the service has finished the task."""
        return self in {TaskStatus.COMPLETED, TaskStatus.FAILED}


# The status of a request and of its tasks, as the user sees it.
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]


class Phase(Enum):
    """The work that is being done for a task, in the words that the user reads.

    The phase is for display only. Whether a task may be charged depends on its ``Stage``.
    """

    PREPARING = "Preparing the request"
    PRICING = "Getting the price; nothing is sent yet"
    ASKING = "Waiting for your click above; nothing is sent yet"
    SOURCE = "Waiting for the source image"
    QUEUED = "Waiting for its turn"
    SENDING = "Sending the request"
    THROTTLED = "Waiting for the rate limit"
    UPLOADING = "Uploading the source image"
    DRAWING = "The service is drawing"
    FETCHING = "Downloading the image"
    JOINED = "Another cell requested the same image; waiting for it"


AWAITING_APPROVAL = {Phase.PRICING, Phase.ASKING}


# The status of an item of a batch. ``partial``: it has some of its images.
ItemStatus = Literal["waiting", "running", "completed", "partial", "failed", "cancelled"]


class Stage(Enum):
    """What is known about a task at the service. This decides whether the task may be charged.

    These are the states of ``TaskState``. For the work that is being done, see ``Phase``.
    """

    PLANNED = "planned"  # the service has no task
    SENT = "sent"  # the service may have a task
    KNOWN = "known"  # the service is working on the task
    DONE = "done"  # the service has finished the task
    JOINED = "joined"  # another cell or kernel waits for the task
