"""The rate limit: the schedule with a fake clock, and the limiter that follows it."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.core.access import Access, Secret
from runapi_magic.core.rate import Rate
from runapi_magic.errors import RateLimitError, ServerError
from runapi_magic.http import rate_limit
from runapi_magic.http.rate_limit import Limiter, StoppedError, Turns
from runapi_magic.http.transport import Transport
from runapi_magic.journal.async_journal import AsyncJournal
from runapi_magic.journal.rate_store import SharedRate
from runapi_magic.journal.task_log import Journal
from tests.faults.clock import Clock

NOW = 1_700_000_000.0


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock: time passes only in sleeps."""
    clock = Clock(monkeypatch)
    clock.now = NOW
    return clock


# The schedule


def test_no_limit_at_first():
    """Without a refusal, every create may be sent at once."""
    rate = Rate()
    for _ in range(100):
        start, rate = rate.claim_turn(NOW)
        assert start == NOW
    assert rate.is_unlimited(NOW)
    assert rate.after_accepted(5) == rate


def test_a_refusal_causes_a_pause_and_a_spacing():
    """After a 429 nothing is sent during its pause, and then one create each 0.25 s."""
    rate = Rate().after_refusal(NOW, NOW, 2.0)
    starts = []
    for _ in range(4):
        start, rate = rate.claim_turn(NOW + 0.1)
        starts.append(start - NOW)
    assert starts == [2.0, 2.25, 2.5, 2.75]


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_refusal_without_a_pause_gets_one(retry_after):
    """Without ``Retry-After``, the pause is half a second, or the spacing if that is longer."""
    rate, now, pauses = Rate(), NOW, []
    for _ in range(5):
        rate = rate.after_refusal(now, now, retry_after)
        pauses.append(rate.paused_until - now)
        now = rate.paused_until
    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0]


def test_refusals_of_one_burst_count_once():
    """Eight requests that were sent and refused together double the spacing only once."""
    rate = Rate()
    for number in range(8):
        rate = rate.after_refusal(NOW + 0.1 + number / 100, NOW, 1.0)
    assert rate.spacing == 0.25
    assert rate.paused_until == pytest.approx(NOW + 1.17)


def test_largest_spacing_and_pause():
    """After any number of refusals the spacing is at most 30 s and a pause at most an hour."""
    rate, now = Rate(), NOW
    for _ in range(20):
        rate = rate.after_refusal(now, now, 1e9)
        now = rate.paused_until
    assert rate.spacing == 30.0
    assert rate.paused_until - NOW == 20 * 3600


def test_accepted_creates_end_the_limit():
    """Each accepted create adds 0.1 per second to the rate. At 20 per second the limit ends."""
    rate = Rate(spacing=0.25)
    assert 1 / rate.after_accepted().spacing == pytest.approx(4.1)
    assert 1 / rate.after_accepted(10).spacing == pytest.approx(5.0)
    assert rate.after_accepted(159).spacing == pytest.approx(1 / 19.9)
    assert rate.after_accepted(161).spacing == 0.0


def test_a_minute_of_rest_ends_the_limit():
    """A limit that is not reached for a minute ends. A limit that is in use does not."""
    rate = Rate(paused_until=NOW, spacing=30.0, next=NOW + 30)
    assert rate.claim_turn(NOW + 89)[1].spacing == 30.0
    assert rate.claim_turn(NOW + 91) == (NOW + 91, Rate(NOW, 0.0, NOW + 91))


@given(
    retry_after=st.one_of(st.none(), st.floats(0, 1e6)),
    steps=st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["claim", "refused", "accepted"]))),
)
def test_turns_never_go_back(retry_after, steps):
    """In any order of events, turns follow each other with the spacing, after every pause."""
    rate, now, least = Rate(), NOW, 0.0
    for wait, what in steps:
        now += wait
        if what == "claim":
            start, rate = rate.claim_turn(now)
            assert start >= max(now, least, rate.paused_until)
            least = start + rate.spacing
        else:
            rate = (
                rate.after_refusal(now, now, retry_after)
                if what == "refused"
                else rate.after_accepted()
            )
        assert 0 <= rate.spacing <= 30.0
        assert rate.paused_until <= now + 3600


@pytest.mark.parametrize("limit", [1, 5, 12])
def test_the_schedule_finds_the_service_s_limit(limit):
    """With a limit per second, the schedule uses more than half of it, with few refusals."""
    rate, now, accepted, refused = Rate(), NOW, [], 0
    while len(accepted) < 400:
        now, rate = rate.claim_turn(now + 0.001)
        if sum(moment > now - 1 for moment in accepted[-limit:]) >= limit:
            refused += 1
            rate = rate.after_refusal(now, now, 1.0)
        else:
            accepted.append(now)
            rate = rate.after_accepted()
    assert refused / 400 < 1.2 / (5 * limit)  # from half the limit to all of it: 5 * limit creates
    assert 400 / (now - NOW) > 0.5 * limit


# The limiter


def _access(url="https://runapi.ai", key="sk-test-one"):
    return Access(url, Secret(key), "", "")


def test_an_account_is_a_hash():
    """The name of an account depends on base URL and key, and reveals neither."""
    names = {
        _access().account,
        _access(key="sk-2").account,
        _access("http://x").account,
    }
    assert len(names) == 3
    assert {len(name) for name in names} == {16}
    assert all(int(name, 16) for name in names)


def _turns(limiter, **options):
    return Turns(limiter, **({"in_queue": True, "timeout": 900.0} | options))


def _refusal(retry_after=None, status=429):
    kind = RateLimitError if status == 429 else ServerError
    return kind(status_code=status, retry_after=retry_after)


def test_first_come_first_served(clock):
    """After a refusal, waiting requests are sent in the order of their arrival, with a spacing."""

    async def main():
        limiter, sent = Limiter(), []
        await limiter.refused(NOW, 2.0)

        async def one(number):
            await _turns(limiter).wait()
            sent.append(number)

        await asyncio.gather(*(one(number) for number in range(4)))
        return sent

    assert asyncio.run(main()) == [0, 1, 2, 3]
    assert clock.sleeps == [2.0, 0.25, 0.25, 0.25]


def test_polls_wait_for_the_pause_only(clock):
    """A poll waits for the end of the pause, and needs no turn."""

    async def main():
        limiter = Limiter()
        await limiter.refused(NOW, 2.0)
        polls = [_turns(limiter, in_queue=False) for _ in range(3)]
        await asyncio.gather(*(poll.wait() for poll in polls))
        return clock.now - NOW, limiter.rate.next

    assert asyncio.run(main()) == (2.0, 0.0)


@pytest.mark.parametrize("end", ["cancel", "stop"])
def test_a_cancelled_request_returns_its_turn(monkeypatch, end):
    """If the next request is cancelled or stopped, the request behind it gets its turn."""
    naps = asyncio.Queue()

    async def sleep(seconds):
        await naps.put(seconds)
        await asyncio.Event().wait()

    async def main():
        limiter = Limiter()
        await limiter.refused(rate_limit.time.time(), 600.0)
        monkeypatch.setattr(rate_limit, "asyncio", _Asyncio(sleep))
        stop = asyncio.Event()
        first = asyncio.ensure_future(_turns(limiter, stop=stop).wait())
        before = await naps.get()
        second = asyncio.ensure_future(_turns(limiter).wait())
        first.cancel() if end == "cancel" else stop.set()
        after = await naps.get()
        second.cancel()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        return before, after, type(ended[0])

    before, after, kind = asyncio.run(main())
    assert before - 5 < after <= before
    assert kind is {"cancel": asyncio.CancelledError, "stop": StoppedError}[end]


class _Asyncio:
    def __init__(self, sleep):
        self.sleep = sleep

    def __getattr__(self, name):
        return getattr(asyncio, name)


def test_a_pause_that_is_too_long(clock):
    """If the wait would exceed the timeout, there is an error at once, with the seconds."""

    async def main():
        limiter = Limiter()
        await limiter.refused(NOW, 1000.0)
        with pytest.raises(RateLimitError) as caught:
            await _turns(limiter).wait()
        return caught.value

    error = asyncio.run(main())
    assert clock.sleeps == []
    assert error.retry_after == 1000.0
    assert "1000 s more" in error.what
    assert error.charged == "Nothing was sent, nothing was charged."
    assert error.todo


def test_a_long_cell_in_queue(monkeypatch):
    """If a long cell blocks the loop past turn and timeout, the turn is still used."""

    async def main():
        loop, passed = asyncio.get_running_loop(), 0.0
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + passed)
        clocks = SimpleNamespace(monotonic=lambda: passed, time=lambda: NOW + passed)
        monkeypatch.setattr(rate_limit, "time", clocks)
        limiter = Limiter()
        await limiter.refused(NOW, 10.0)
        turn = asyncio.ensure_future(_turns(limiter, timeout=20.0).wait())
        while not limiter._queued:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        passed = 300.0  # a long cell
        await turn

    asyncio.run(main())


@pytest.mark.parametrize("overslept", [0.0, 0.5, 200.0])
def test_a_timeout_that_is_used_up(monkeypatch, overslept):
    """After a wait that ended late, the next turn is refused at once."""

    async def main():
        limiter = Limiter()
        limiter.rate = Rate(spacing=0.25)
        passed = 0.0

        async def sleep(seconds):
            nonlocal passed
            passed += seconds + overslept

        clocks = SimpleNamespace(monotonic=lambda: passed, time=lambda: NOW)
        monkeypatch.setattr(rate_limit, "time", clocks)
        monkeypatch.setattr(rate_limit, "asyncio", _Asyncio(sleep))
        await limiter.refused(0.0, 50.0)
        turns = _turns(limiter, timeout=50.0)
        await turns.wait()
        await limiter.refused(passed, 30.0)
        with pytest.raises(RateLimitError):
            await turns.wait()
        return turns.waited

    assert asyncio.run(main()) == 50.0 + overslept


def test_a_clock_that_is_set(monkeypatch):
    """A change of the clock does not change the length of a pause."""
    unix = NOW + 400 * 86_400
    monkeypatch.setattr(
        rate_limit, "time", SimpleNamespace(monotonic=lambda: 5.0, time=lambda: unix)
    )

    async def main():
        nonlocal unix
        limiter = Limiter()
        await limiter.refused(5.0, 2.0)
        unix = NOW
        return limiter.rate.paused_until

    assert asyncio.run(main()) == 7.0


def test_waiting_is_reported(clock):
    """A wait of more than a second is reported with its seconds, and its end with 0."""

    async def main():
        limiter, reported = Limiter(), []
        turns = _turns(limiter, on_wait=reported.append)
        await turns.wait()
        await turns.failed(_refusal(3.0))
        clock.now += 0.5
        await turns.wait()
        return reported, turns.waited

    reported, waited = asyncio.run(main())
    assert reported == [0.0, 3.0, 2.5, 2.5, 0.0]
    assert waited == 2.5


def test_waiting_does_not_count_as_retrying(clock):
    """The time in the queue does not shorten the time for retries."""
    answers = [(500, [(b"retry-after", b"5")], b""), (200, [], b"{}")]

    async def app(_scope, receive, send):
        await receive()
        status, headers, body = answers.pop(0)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def main():
        transport = Transport(_access("http://service.localhost"), app)
        await transport.limiter.refused(NOW, 8.0)
        answer = await transport.request(
            "POST", "/x", body=b"{}", idempotency_key="k", in_queue=True, timeout=9.0
        )
        await transport.close()
        return answer.status_code

    assert asyncio.run(main()) == 200
    assert clock.now == NOW + 13.0


@pytest.mark.parametrize(
    ("error", "spacing"),
    [(_refusal(1.0), 0.25), (_refusal(), 0.25), (_refusal(1.0, 503), 0.25),
     (_refusal(None, 503), 0), (_refusal(0.0, 503), 0), (_refusal(1.0, 502), 0)],
)  # fmt: skip
def test_what_slows_down(clock, error, spacing):
    """A 429, and a 503 with ``Retry-After``, slow down. Other errors do not."""

    async def main():
        limiter = Limiter()
        turns = _turns(limiter)
        await turns.wait()
        await turns.failed(error)
        return limiter.rate.spacing

    assert asyncio.run(main()) == spacing


# Shared by kernels


@pytest.fixture
def kernel(tmp_path):
    """Return a function that starts a limiter on one journal, with its notices, like a kernel."""
    journals = []

    def start():
        journals.append(Journal(tmp_path))
        notices = []
        record = AsyncJournal(journals[-1], notices.append)
        return Limiter(SharedRate("account", journals[-1], record)), notices

    yield start
    for journal in journals:
        journal.close()


def _row(folder):
    connection = sqlite3.connect(folder / "journal.sqlite")
    rows = connection.execute("SELECT paused_until, spacing, next FROM rates").fetchall()
    connection.close()
    return [Rate(*row) for row in rows]


def test_kernels_share_pause_and_turns(clock, kernel, tmp_path):
    """Two kernels share a pause, and never use the same turn."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()
        await one.refused(NOW, 2.0)
        sent = []
        for limiter in (two, one) * 3:
            await _turns(limiter).wait()
            sent.append(clock.now - NOW)
        return sent

    assert asyncio.run(main()) == [2.0, 2.25, 2.5, 2.75, 3.0, 3.25]


@pytest.mark.parametrize("ahead", [86_400.0, 400 * 86_400.0])
def test_a_clock_that_was_ahead(clock, kernel, tmp_path, ahead):
    """A rate that a kernel wrote while its clock was ahead does not stop other kernels."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()
        clock.now += ahead
        await one.refused(clock.now, 2.0)
        clock.now -= ahead
        await _turns(two, timeout=60.0).wait()
        await two.refused(clock.now, 3.0)

    asyncio.run(main())
    assert clock.sleeps == []
    assert _row(tmp_path) == [Rate(NOW + 3, 0.25, 0.0)]


@pytest.mark.parametrize("spacing", [-1.0, 1e9, math.inf])
def test_an_implausible_row(clock, kernel, tmp_path, spacing):
    """A row with an impossible spacing is ignored."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()
        await one.refused(NOW, 2.0)
        one._shared._journal.close()
        with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
            connection.execute("UPDATE rates SET spacing = ?", (spacing,))
        connection.close()
        await _turns(two).wait()

    asyncio.run(main())
    assert clock.sleeps == []


class _SlowStore:
    """A shared rate whose reads take their value at once, and return it after ``go``."""

    def __init__(self):
        self.go, self.rate = asyncio.Event(), Rate()

    async def read(self):
        rate = self.rate
        await self.go.wait()
        return rate

    async def change(self, how):
        self.rate = how(self.rate)
        return self.rate


def test_a_slow_read_does_not_end_a_pause(clock):
    """If a pause begins while the shared rate is read, the older rate is ignored."""

    async def main():
        store = _SlowStore()
        limiter = Limiter(store)
        reading = asyncio.ensure_future(limiter.refresh())
        await asyncio.sleep(0)
        await limiter.refused(NOW, 2.0)
        store.go.set()
        await reading
        return limiter.rate.paused_until

    assert asyncio.run(main()) == NOW + 2


def test_a_read_during_a_change_does_not_end_a_pause(clock):
    """If the shared rate is read before a change is written, the changed rate counts."""

    class Store(_SlowStore):
        async def change(self, how):
            changed = how(self.rate)
            self.go.set()
            await limiter.refresh()
            return changed

    limiter = Limiter(Store())

    async def main():
        await limiter.refused(NOW, 2.0)
        return limiter.rate.paused_until

    assert asyncio.run(main()) == NOW + 2


def test_all_wait_for_the_first_read(clock, kernel):
    """Creates that start together in one kernel all know the shared rate first."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()
        await one.refused(NOW, 2.0)
        await asyncio.gather(*(_turns(two).wait() for _ in range(3)))

    asyncio.run(main())
    assert clock.sleeps == [2.0, 0.25, 0.25]


@pytest.mark.parametrize("refused_in", ["this kernel", "another"])
def test_a_pause_that_begins_in_queue(clock, kernel, monkeypatch, refused_in):
    """If a pause begins while a request waits for its turn, the request waits longer."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()

        async def sleep(seconds):
            await clock.sleep(seconds)
            if len(clock.sleeps) == 1:
                await (one if refused_in == "this kernel" else two).refused(clock.now, 5.0)

        monkeypatch.setattr(rate_limit, "asyncio", _Asyncio(sleep))
        await one.refused(NOW, 2.0)
        await _turns(one).wait()

    asyncio.run(main())
    assert clock.sleeps == [2.0, 5.0]


def test_nothing_is_written_without_need(clock, kernel, tmp_path, monkeypatch):
    """Without a limit, the journal is read once per second and never written."""

    async def main():
        limiter, _ = kernel()
        calls = []
        read = limiter._shared.read

        async def counted():
            calls.append(clock.now)
            return await read()

        monkeypatch.setattr(limiter._shared, "read", counted)
        for _ in range(100):
            turns = _turns(limiter)
            await turns.wait()
            turns.accepted()
            clock.now += 0.125
        return calls

    assert len(asyncio.run(main())) == math.ceil(100 * 0.125)
    assert _row(tmp_path) == []


def test_the_shared_limit_ends(clock, kernel, tmp_path):
    """Accepted creates end the shared limit, so other kernels have no limit either."""

    async def main():
        (one, _), (two, _) = kernel(), kernel()
        await one.refused(NOW, 1.0)
        for _ in range(170):
            turns = _turns(one)
            await turns.wait()
            turns.accepted()
        clock.now += 2.0
        await two.refresh()
        return two.rate

    assert asyncio.run(main()).is_unlimited(clock.now)
    assert [row.spacing for row in _row(tmp_path)] == [0.0]


@pytest.mark.parametrize("content", [b"no database" * 500, None])
def test_without_a_usable_journal(clock, kernel, tmp_path, content):
    """With a damaged journal, or a folder in its place, a kernel uses its own rate."""
    path = tmp_path / "journal.sqlite"
    path.mkdir() if content is None else path.write_bytes(content)

    async def main():
        limiter, notices = kernel()
        await limiter.refused(NOW, 2.0)
        starts = []
        for _ in range(3):
            await _turns(limiter).wait()
            starts.append(round(clock.now - NOW, 6))
        return starts, notices

    starts, notices = asyncio.run(main())
    assert starts == [2.0, 2.25, 2.5]
    assert notices


def test_a_journal_that_is_deleted(clock, kernel, tmp_path):
    """A journal that is created again gets the rate of the kernel."""

    async def main():
        limiter, _ = kernel()
        await limiter.refused(NOW, 2.0)
        limiter._shared._journal.close()
        for file in tmp_path.glob("journal.sqlite*"):
            file.unlink()
        await _turns(limiter).wait()

    asyncio.run(main())
    assert _row(tmp_path) == [Rate(NOW + 2, 0.25, NOW + 2.25)]
