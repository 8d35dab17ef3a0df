"""The words of `thumbdrop status`: a status in, lines out. Pure.

What a reader would get wrong: names in it come from settings and from files, so each line is made printable where it is
printed (watcher/printing.py), not here.
"""

from collections.abc import Iterator

from watcher.status import InboxStatus, Status
from watcher.wording import counted, listed, roughly


def status_lines(status: Status) -> Iterator[tuple[str, str, bool]]:
    """Yield (label, text, whether all is well) for each line."""
    yield from _parts(status)
    yield "library", _library(status), status.paused is None
    for inbox in status.inboxes:
        yield "", "", True
        yield from _inbox(inbox, status.at)
    if status.problems:
        yield "", "", True
    for problem in status.problems:
        yield "problem", problem, False


def _parts(status: Status) -> Iterator[tuple[str, str, bool]]:
    yield "broker", _reached(status.broker, status.broker_error), not status.broker_error
    yield "results", _reached(status.results, status.results_error), not status.results_error
    workers = f"{counted(len(status.workers), 'worker')}: {', '.join(status.workers)}"
    yield "workers", workers if status.workers else "none answers", bool(status.workers)
    jobs = ", ".join(f"{job} {roughly(status.at - at)} ago" for job, at in sorted(status.beat.items()))
    yield "beat", jobs or "no periodic job has run yet (the first one comes ten minutes after the start)", True


def _reached(address: str, error: str) -> str:
    return f"{address}: {error}" if error else f"ok, {address}"


def _library(status: Status) -> str:
    now = "" if status.quarantined_now is None else f"; {status.quarantined_now} in quarantine now"
    paused = f"; PAUSED: {status.paused.get('message', '')}" if status.paused else ""
    outcomes = {name: number for name, number in status.counts.items() if name != "damaged"}
    damaged = status.counts.get("damaged", 0)
    among = f" ({damaged} of them damaged and accepted as such)" if damaged else ""
    return f"so far {listed(outcomes)}{among}{now}{paused}"


def _inbox(inbox: InboxStatus, now: float) -> Iterator[tuple[str, str, bool]]:
    is_well = inbox.state in ("watching", "standby") and not inbox.offline_why
    state = "offline" if inbox.offline_why else inbox.state
    why = f": {inbox.offline_why}" if inbox.offline_why else ""
    watcher = f" by {inbox.watcher}" if inbox.watcher else ""
    yield f"inbox {inbox.name}", f"{state}{why}{watcher}, {inbox.path}", is_well
    if inbox.backend:
        watches = "" if inbox.watches is None else f", {counted(inbox.watches, 'watch', 'watches')}"
        yield "  backend", f"{inbox.backend}{watches} ({inbox.why})", True
    yield "  waiting", _waiting(inbox, now), True
    yield "  in flight", f"{inbox.published + inbox.working} ({inbox.working} being worked on)", True
    for group in inbox.put_off:
        next_try = "" if group.next_try_at is None else f", next try in {roughly(group.next_try_at - now)}"
        yield "  put off", f"{group.count} {group.reason}{next_try}", True
    more = inbox.put_off_total - sum(group.count for group in inbox.put_off)
    if more > 0:
        yield "  put off", f"{more} more, which are tried later", True
    if inbox.ignored:
        yield "  ignored", listed(inbox.ignored), True
    yield from _scan(inbox, now)
    if inbox.missed_events:
        yield "  missed", f"{counted(inbox.missed_events, 'file')} that no event announced; a scan found them", True


def _waiting(inbox: InboxStatus, now: float) -> str:
    if inbox.waiting is None:
        return "unknown"
    at_least = "at least " if inbox.waiting_has_more else ""
    if inbox.oldest_waiting_at is None:
        return f"{at_least}{counted(inbox.waiting, 'file')}"
    age = f"the oldest for {at_least}{roughly(now - inbox.oldest_waiting_at)}"
    return f"{at_least}{counted(inbox.waiting, 'file')}, {age}"


def _scan(inbox: InboxStatus, now: float) -> Iterator[tuple[str, str, bool]]:
    finished_at, files = inbox.scan.get("finished_at"), inbox.scan.get("files")
    if finished_at is not None:
        took = f" in {roughly(inbox.scan.get('seconds') or 0)}"
        yield "  last scan", f"{roughly(now - finished_at)} ago, {counted(files or 0, 'file')}{took}", True
    elif inbox.scan.get("running"):
        yield "  last scan", "the first one is running", True
