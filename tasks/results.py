"""What Celery's result store keeps of an outcome: written with the end of the lease, in the same step and round trip.

Celery itself would look for an earlier result first, keep that one (so that an image which was put off once would stay
so), and then write: two round trips more for every image. The form is that of celery.backends.base, which reads it.
"""

import json
from datetime import UTC, datetime
from typing import Any


def result_key(task_id: str) -> str:
    """Where the result of a task stands."""
    return f"celery-task-meta-{task_id}"


def result_text(task_id: str, outcome: dict[str, Any]) -> str:
    """The result of a task that came to an end, with its outcome of JSON primitives."""
    return json.dumps(
        {
            "status": "SUCCESS",
            "result": outcome,
            "traceback": None,
            "children": [],
            "date_done": datetime.now(UTC).isoformat(),
            "task_id": task_id,
        }
    )
