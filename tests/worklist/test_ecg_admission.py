"""Who gets in when, as a crowd waits at the door. Oracle: by hand; no time decides."""

import asyncio
from collections.abc import Awaitable, Callable

from hub.worklist.ecg_admission import Admission


class Crowd:
    """ECGs at a door; each stays inside until it is told to leave."""

    def __init__(self, at_once: int) -> None:
        self.door = Admission(at_once)
        self.inside: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def comes(self, name: str, *, look: bool = False) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, look))
        await settled()

    async def _visit(self, name: str, look: bool) -> None:
        async with self.door.look() if look else self.door.routine():
            self.inside.append(name)
            await self._leave[name].wait()
            self.inside.remove(name)

    async def leaves(self, name: str) -> None:
        self._leave[name].set()
        await settled()

    async def hangs_up(self, name: str) -> None:
        self.tasks[name].cancel()
        await settled()
        if name in self.inside:
            self.inside.remove(name)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(scene: Callable[[Crowd], Awaitable[None]], at_once: int = 2) -> None:
    async def whole() -> None:
        crowd = Crowd(at_once)
        await scene(crowd)
        for task in crowd.tasks.values():
            task.cancel()
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)

    asyncio.run(whole())


def test_a_few_at_a_time_in_the_order_of_arrival() -> None:
    async def scene(crowd: Crowd) -> None:
        for name in "abcd":
            await crowd.comes(name)
        assert crowd.inside == ["a", "b"]
        await crowd.leaves("b")
        assert crowd.inside == ["a", "c"]

    run(scene)


def test_nothing_routine_is_let_in_while_there_are_looks() -> None:
    async def scene(crowd: Crowd) -> None:
        await crowd.comes("a")
        await crowd.comes("look 1", look=True)
        await crowd.comes("look 2", look=True)
        await crowd.comes("b")
        assert crowd.inside == ["a", "look 1"]  # one look at a time; what is inside stays
        await crowd.leaves("look 1")
        assert crowd.inside == ["a", "look 2"]
        await crowd.leaves("look 2")
        assert crowd.inside == ["a", "b"]

    run(scene)


def test_who_hangs_up_takes_no_place_whether_he_waits_or_is_inside() -> None:
    async def scene(crowd: Crowd) -> None:
        for name in "abcd":
            await crowd.comes(name)
        await crowd.hangs_up("c")
        await crowd.hangs_up("a")
        assert crowd.inside == ["b", "d"]
        await crowd.comes("look", look=True)
        await crowd.comes("e")
        await crowd.hangs_up("look")
        await crowd.leaves("b")
        assert crowd.inside == ["d", "e"]

    run(scene)


def test_one_that_is_let_in_and_hangs_up_at_that_moment_gives_its_place_back() -> None:
    async def scene(crowd: Crowd) -> None:
        await crowd.comes("a")
        await crowd.comes("b")
        crowd._leave["a"].set()
        await asyncio.sleep(0)
        crowd.tasks["b"].cancel()
        await settled()
        await crowd.comes("c")
        assert crowd.inside == ["c"]

    run(scene, at_once=1)
