"""What Redis remembers about arrivals: leases, attempts, retry records, kept files. Shared by watcher and workers.

All of it may be wiped at any moment: then work is repeated, never lost, because the inbox is the record. All times are
Redis's own clock. Every change of state is one Lua script, so two watchers or two workers never both win.

    thumbdrop:lease:<id>       "published:<token>" | "working:<token>", always expires
    thumbdrop:record:<id>      hash: attempts begun and failed, reason, message, first_at; expires if untouched
    thumbdrop:due:<inbox>      sorted set of ids by "not before" (ms): the retry records
    thumbdrop:waits:<inbox>    hash: path -> id of the retry record, so that a file that changed leaves none behind
    thumbdrop:flight:<inbox>   set of ids with a lease
    thumbdrop:kept:<inbox>     set of ids that are done and stay where they are (after = "keep")
    thumbdrop:counts           hash: outcomes since this Redis was started
    thumbdrop:pause            why nothing can be written now; expires within seconds
    thumbdrop:holder:<inbox>   token of the watcher that holds the inbox; expires
    thumbdrop:report:<inbox>   what that watcher last said of itself; expires
    thumbdrop:scan:<inbox>     somebody wants a scan; expires
    thumbdrop:beat             hash: when each periodic job last ran
    thumbdrop:asked            whether the store takes anything was asked; expires

Limits: the working lease's token is the message's, so two deliveries of one message count as one holder only while
the first still runs; the script lets the second in no earlier than the lease ends.
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis, ResponseError

from tasks import lease_scripts
from tasks.errors import IngestError
from tasks.messages import Arrival
from tasks.results import result_key, result_text

PUBLISHED_SECONDS = 600  # a message that nobody took by then is published again
RECORD_SECONDS = 30 * 86400  # an untouched record is of a file that went away unseen
WORKING_MARGIN_SECONDS = 10  # beyond the task time limit, for the end of a task that just made it
RESULT_SECONDS = 86400  # what [results] expire is, unless the settings say otherwise
PAUSE_SECONDS = 10  # how often a full library is looked at again


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an offered arrival: "published" (with its token), "leased", "waiting", "kept" or "paused".

    `wait_seconds` is how long a waiting or paused one has to wait.
    """

    arrival: Arrival
    state: str
    token: str = ""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered about an arrival's attempts; all counts are from before the attempt now beginning.

    `vanished`: attempts whose whole worker disappeared; `tries`: how often in a row it was put off for `reason`;
    `first_at`: Redis time in seconds of the first of those; `not_before` likewise, of the next try, if one is due.
    """

    vanished: int = 0
    crashed: int = 0
    timed_out: int = 0
    internal: int = 0
    superseded: int = 0
    tries: int = 0
    reason: str = ""
    message: str = ""
    first_at: float | None = None
    not_before: float | None = None
    arrival: Arrival | None = None

    @property
    def attempts(self) -> int:
        """All attempts that came to no named end."""
        return self.vanished + self.crashed + self.timed_out + self.internal

    @property
    def ended_children(self) -> int:
        """Attempts that ended their worker child by the file's own fault."""
        return self.crashed + self.timed_out


_COUNTERS = ("vanished", "crashed", "timed_out", "internal", "superseded", "tries")


def _record(fields: dict[str, str], not_before_ms: float | None = None) -> Record:
    return Record(
        **{name: int(fields.get(name, 0)) for name in _COUNTERS},
        reason=fields.get("reason", ""),
        message=fields.get("message", ""),
        first_at=int(fields["first_at"]) / 1000 if "first_at" in fields else None,
        not_before=None if not_before_ms is None else not_before_ms / 1000,
        arrival=Arrival(*json.loads(fields["arrival"])) if "arrival" in fields else None,
    )


@dataclass(frozen=True, slots=True)
class End:
    """Work that finished an arrival for good: its lease's token, the outcome and what else is to be counted of it.

    `keep` remembers the file as done; `outcome`, if there is one, goes to the result store.
    """

    arrival: Arrival
    token: str
    counted: Sequence[str]
    keep: bool = False
    outcome: dict[str, Any] | None = None


class Leases:
    """The one place that knows the keys. Every method raises redis.RedisError when the store is away."""

    def __init__(self, redis: Redis, task_time_seconds: float, result_seconds: float = RESULT_SECONDS) -> None:
        self.redis: Any = redis  # redis-py types each reply as the union of all that any option can make of it
        self._result_seconds = int(result_seconds)
        self._working_ms = int((task_time_seconds + WORKING_MARGIN_SECONDS) * 1000)
        self._offer = redis.register_script(lease_scripts.OFFER)
        self._withdraw = redis.register_script(lease_scripts.WITHDRAW)
        self._begin = redis.register_script(lease_scripts.BEGIN)
        self._finish = redis.register_script(lease_scripts.FINISH)
        self._put_off = redis.register_script(lease_scripts.PUT_OFF)
        self._excuse = redis.register_script(lease_scripts.EXCUSE)
        self._hold = redis.register_script(lease_scripts.HOLD)
        self._release_hold = redis.register_script(lease_scripts.RELEASE_HOLD)

    # -- the watcher's side

    def offer(self, arrivals: Sequence[Arrival], tokens: Sequence[str] | None = None) -> list[Verdict]:
        """Lease, in one round trip an inbox, each arrival that nobody holds and that is due; say what stands against others.

        Whoever gives the `tokens` of the leases himself can withdraw them after a RedisError: they may have been given
        although the reply was lost. At most some hundreds at once: nobody else is served meanwhile.
        """
        tokens = [new_token() for _ in arrivals] if tokens is None else tokens
        verdicts: dict[int, Verdict] = {}
        for inbox in dict.fromkeys(arrival.inbox for arrival in arrivals):
            places = [place for place, arrival in enumerate(arrivals) if arrival.inbox == inbox]
            ids = [arrivals[place].id for place in places]
            keys = [*_keys(inbox, "due", "kept", "flight"), "thumbdrop:pause", *map(_lease, ids)]
            args = [word for place, arrival_id in zip(places, ids, strict=True) for word in (arrival_id, tokens[place])]
            replies = self._offer(keys=keys, args=[PUBLISHED_SECONDS * 1000, *args])
            for place, (state, wait_ms) in zip(places, replies, strict=True):
                token = tokens[place] if state == "published" else ""
                verdicts[place] = Verdict(arrivals[place], state, token, wait_ms / 1000)
        return [verdicts[place] for place in range(len(arrivals))]

    def withdraw(self, arrival: Arrival, token: str) -> bool:
        """Take a published lease back (the broker refused, or the message is lost); False when it is no longer ours."""
        keys = [_lease(arrival.id), *_keys(arrival.inbox, "flight")]
        return bool(self._withdraw(keys=keys, args=[arrival.id, token]))

    def states(self, ids: Sequence[str]) -> list[str]:
        """For each arrival id: "published", "working" or "" when no lease is left."""
        if not ids:
            return []
        return [(value or "").partition(":")[0] for value in self.redis.mget([_lease(i) for i in ids])]

    def due(self, inbox: str, limit: int) -> list[Arrival]:
        """Up to `limit` arrivals whose wait has ended and that nobody works on, the longest waiting first."""
        key = _keys(inbox, "due")[0]
        at_work = self.redis.scard(_keys(inbox, "flight")[0])
        ids = self.redis.zrange(key, "-inf", str(self.now_ms()), byscore=True, offset=0, num=limit + at_work)
        free = [i for i, state in zip(ids, self.states(ids), strict=True) if not state][:limit]
        found = []
        for arrival_id in free:
            facts = self.redis.hget(_record_key(arrival_id), "arrival")
            if facts is None:  # the record expired: a scan will find the file, if it still stands there
                self.redis.zrem(key, arrival_id)
            else:
                found.append(Arrival(*json.loads(facts)))
        return found

    def forget(self, arrival: Arrival) -> None:
        """Drop what is remembered of an arrival that no longer stands in its inbox."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.delete(_record_key(arrival.id))
        pipe.zrem(_keys(arrival.inbox, "due")[0], arrival.id)
        pipe.hdel(_keys(arrival.inbox, "waits")[0], _field(arrival))
        pipe.execute()

    def hold(self, inbox: str, token: str, seconds: float) -> bool:
        """Take or renew the hold on an inbox; False while another has it.

        A new holder forgets its predecessor's published leases, so that nothing waits for them to expire.
        """
        held = self._hold(keys=_keys(inbox, "holder"), args=[token, int(seconds * 1000)])
        if held == 2:
            self._forget_published(inbox)
        return bool(held)

    def ask_scan(self, inbox: str) -> None:
        """Ask the watcher that holds the inbox for a scan; the wish fades, should there be none."""
        self.redis.set(_keys(inbox, "scan")[0], "1", ex=30)

    def is_scan_asked(self, inbox: str) -> bool:
        """Whether somebody asked for a scan since the last call."""
        return self.redis.getdel(_keys(inbox, "scan")[0]) is not None

    def release(self, inbox: str, token: str) -> None:
        """Give the hold on an inbox back, so that a standby takes over at once; nobody watches it until then."""
        self._release_hold(keys=_keys(inbox, "holder", "report"), args=[token])

    def _forget_published(self, inbox: str) -> None:
        flight = _keys(inbox, "flight")[0]
        ids = list(self.redis.smembers(flight))
        for arrival_id, value in zip(ids, self.redis.mget([_lease(i) for i in ids]) if ids else [], strict=True):
            if value is None:
                self.redis.srem(flight, arrival_id)
            elif value.startswith("published:"):
                self._withdraw(keys=[_lease(arrival_id), flight], args=[arrival_id, value.partition(":")[2]])

    # -- the worker's side

    def begin(self, arrival: Arrival, token: str, decoded: tuple[Arrival, str] | None = None) -> Record | None:
        """Turn the published lease into a working one and count the attempt, durably, before anything is decoded.

        `decoded` is what this worker had begun before (with its token) and has decoded: from now on it is not to blame for the
        worker's end. None: another holds the arrival, so this message is to be dropped.
        """
        keys = [_lease(arrival.id), _record_key(arrival.id), *_keys(arrival.inbox, "flight")]
        args: list[str | int] = [arrival.id, token, self._working_ms, RECORD_SECONDS]
        if decoded is not None:
            keys += [_lease(decoded[0].id), _record_key(decoded[0].id)]
            args.append(decoded[1])
        before = self._begin(keys=keys, args=args)
        if before is None:
            return None
        return _record(dict(zip(before[::2], before[1::2], strict=True)))

    def finish(self, ends: Sequence[End]) -> None:
        """End pieces of work for good, in one round trip: their counters, retry records and leases go."""
        keys: list[str] = []
        args: list[str | int | bytes] = []
        for end in ends:
            arrival = end.arrival
            keys += [_lease(arrival.id), _record_key(arrival.id), *_keys(arrival.inbox, "flight", "due", "kept")]
            keys += ["thumbdrop:counts", *_keys(arrival.inbox, "waits"), result_key(arrival.id)]
            args += [arrival.id, end.token, int(end.keep), _field(arrival), *self._result(arrival, end.outcome)]
            args.append(" ".join(end.counted))
        self._finish(keys=keys, args=args)

    def _result(self, arrival: Arrival, outcome: dict[str, Any] | None) -> tuple[str, int]:
        return "" if outcome is None else result_text(arrival.id, outcome), self._result_seconds

    def put_off(
        self,
        arrival: Arrival,
        token: str,
        why: IngestError,
        wait_seconds: float,
        *,
        failed: str = "",
        outcome: dict[str, Any] | None = None,
    ) -> bool:
        """End the work for now: take the attempt back, or move it to the counter `failed`, and say when to try again.

        `failed` is "vanished", "crashed", "timed_out", "internal", "superseded" or empty. False when the lease was no
        longer ours.
        """
        keys = [_lease(arrival.id), _record_key(arrival.id), *_keys(arrival.inbox, "flight", "due", "waits")]
        keys.append(result_key(arrival.id))
        facts = json.dumps([arrival.inbox, arrival.path, arrival.size_bytes, arrival.mtime_ns])
        wait_ms = int(wait_seconds * 1000)
        reason, message = str(why.reason), _encodable(why.message)
        args: list[str | int | bytes] = [arrival.id, token, wait_ms, failed, RECORD_SECONDS, reason, message, facts]
        args += [_field(arrival), *self._result(arrival, outcome)]
        return bool(self._put_off(keys=keys, args=args))

    def excuse(self, arrival: Arrival, token: str) -> bool:
        """Take the attempt back while the work still goes on: whatever ends its worker now, the file is not to blame."""
        return self._take_back(arrival, token, ends=False)

    def give_back(self, arrival: Arrival, token: str, *, only_decoded: bool = False) -> bool:
        """Take the attempt back and end the work at once, so that another worker need not wait for the lease's end.

        With `only_decoded` False, and nothing done, unless it has been decoded: else it may be to blame.
        """
        return self._take_back(arrival, token, ends=True, only_decoded=only_decoded)

    def _take_back(self, arrival: Arrival, token: str, *, ends: bool, only_decoded: bool = False) -> bool:
        keys = [_lease(arrival.id), _record_key(arrival.id), *_keys(arrival.inbox, "flight")]
        return bool(self._excuse(keys=keys, args=[arrival.id, token, int(ends), int(only_decoded)]))

    def pause(self, why: IngestError) -> None:
        """Raise the library's pause flag: nothing is published until it expires."""
        text = json.dumps({"reason": str(why.reason), "message": why.message, "hint": why.hint})
        self.redis.set("thumbdrop:pause", text, ex=PAUSE_SECONDS)

    # -- for those who ask

    def paused(self) -> dict[str, str] | None:
        """{"reason", "message"} while the library is paused."""
        text = self.redis.get("thumbdrop:pause")
        return None if text is None else dict(json.loads(text))

    def refusal(self) -> str:
        """Why the store takes nothing, although it answers: its disk is full (MISCONF), or its memory (OOM); "" if it does."""
        try:
            self.redis.set("thumbdrop:asked", "1", ex=10)
        except ResponseError as error:
            return f"it refuses to write: {error}"
        return ""

    def record(self, arrival: Arrival) -> Record:
        """What is remembered of one arrival."""
        score = self.redis.zscore(_keys(arrival.inbox, "due")[0], arrival.id)
        return _record(self.redis.hgetall(_record_key(arrival.id)), score)

    def is_kept(self, arrival: Arrival) -> bool:
        """Whether the file is done and stays where it is."""
        return bool(self.redis.sismember(_keys(arrival.inbox, "kept")[0], arrival.id))

    def waiting(self, inbox: str, limit: int = 1000) -> list[Record]:
        """The retry records of an inbox, the next one due first."""
        found = []
        for arrival_id, score in self.redis.zrange(_keys(inbox, "due")[0], 0, limit - 1, withscores=True):
            found.append(_record(self.redis.hgetall(_record_key(arrival_id)), score))
        return found

    def count_waiting(self, inbox: str) -> int:
        """Count the retry records of an inbox, however many they are."""
        return int(self.redis.zcard(_keys(inbox, "due")[0]))

    def in_flight(self, inbox: str) -> dict[str, str]:
        """Arrival id -> "published" or "working", for the leases of an inbox that are alive."""
        ids = sorted(self.redis.smembers(_keys(inbox, "flight")[0]))
        return {i: state for i, state in zip(ids, self.states(ids), strict=True) if state}

    def counts(self) -> dict[str, int]:
        """Outcomes since this Redis was started: {"done": n, "duplicate": n, "quarantined": n, ...}."""
        return {name: int(value) for name, value in self.redis.hgetall("thumbdrop:counts").items()}

    def lease_seconds(self, arrival: Arrival) -> float:
        """How long the arrival's lease lasts yet; 0 when it has none."""
        left_ms: int = self.redis.pttl(_lease(arrival.id))
        return max(0, left_ms) / 1000

    def reconsider(self, arrival: Arrival) -> None:
        """Forget that a kept file is done: somebody wants it tried again."""
        self.redis.srem(_keys(arrival.inbox, "kept")[0], arrival.id)

    def note_job(self, job: str, at: float) -> None:
        """Remember when a periodic job last ran (Unix time)."""
        self.redis.hset("thumbdrop:beat", job, int(at))

    def jobs(self) -> dict[str, float]:
        """Periodic job -> Unix time of its last run."""
        return {job: float(at) for job, at in self.redis.hgetall("thumbdrop:beat").items()}

    def report(self, inbox: str, text: dict[str, Any], seconds: float) -> None:
        """Leave what the watcher says of itself and this inbox; it fades after `seconds` without another."""
        self.redis.set(_keys(inbox, "report")[0], json.dumps(text), px=int(seconds * 1000))

    def reports(self, inboxes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The watchers' last words per inbox; an inbox that nobody watches is missing."""
        names = list(inboxes)
        texts = self.redis.mget([_keys(name, "report")[0] for name in names]) if names else []
        return {name: json.loads(text) for name, text in zip(names, texts, strict=True) if text}

    def now_ms(self) -> int:
        """Redis's clock, in milliseconds since the epoch."""
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000


def new_token() -> str:
    """A token that nobody else has."""
    return secrets.token_hex(8)


def _lease(arrival_id: str) -> str:
    return f"thumbdrop:lease:{arrival_id}"


def _record_key(arrival_id: str) -> str:
    return f"thumbdrop:record:{arrival_id}"


def _keys(inbox: str, *names: str) -> list[str]:
    return [f"thumbdrop:{name}:{inbox}" for name in names]


def _field(arrival: Arrival) -> bytes:
    """The path as the field of a hash."""
    return os.fsencode(arrival.path)


def _encodable(text: str) -> str:
    """Text that every encoding can carry: a file's name may hold lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
