"""What takes a while over HTTP: so much at a time, and no more waits for it than a bound."""

import asyncio
from threading import Event, Lock, Semaphore

from pointsman.api.request import Answer
from pointsman.machine.calls import MOST_AT_ONCE, MOST_CALLS, Calls


def test_so_many_requests_are_answered_at_a_time_and_so_many_wait() -> None:
    go, lock = Event(), Lock()
    running = most = 0

    def slow() -> Answer:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert go.wait(60)
        with lock:
            running -= 1
        return Answer(200, {})

    async def ask(calls: Calls) -> list[int]:
        # Each of these holds its place before the next begins, so the last ones find none.
        tasks = [asyncio.create_task(calls.run(slow)) for _ in range(MOST_CALLS)]
        await asyncio.sleep(0)
        tasks[-1].cancel()
        refused = [await calls.run(slow) for _ in range(3)]
        assert refused[0].body == {"error": f"{MOST_CALLS} requests are being answered or wait for it; send it again"}
        assert refused[0].headers == {"retry-after": "1"}
        go.set()
        done = await asyncio.gather(*tasks[:-1])
        again = await calls.run(slow)
        return [each.status for each in (*refused, *done, again)]

    assert asyncio.run(ask(Calls())) == [503] * 3 + [200] * MOST_CALLS
    assert most == MOST_AT_ONCE


def test_when_a_process_ends_what_is_under_way_is_brought_to_its_end_and_what_waits_is_given_up() -> None:
    go, begun, calls = Event(), Semaphore(0), Calls()

    def slow() -> Answer:
        begun.release()
        assert go.wait(60)
        return Answer(200, {})

    async def ask() -> list[object]:
        tasks = [asyncio.create_task(calls.run(slow)) for _ in range(MOST_AT_ONCE + 2)]
        await asyncio.to_thread(lambda: [begun.acquire(timeout=60) for _ in range(MOST_AT_ONCE)])
        calls.close()
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = [getattr(each, "status", None) or type(each).__name__ for each in asyncio.run(ask())]
    assert ends == [200] * MOST_AT_ONCE + ["CancelledError"] * 2
