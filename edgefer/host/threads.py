"""How many threads work at once, and the pool that short questions share.

Runtimes are opened with one thread each; what is parallel is images, in threads of ours.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from threading import local
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_here = local()


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, begun_at_most: int | None = None
) -> Generator[_Result, None, None]:
    """What `function` makes of the items, several at once, in their order; once closed, no more are begun.

    Where `function` itself asks for the like, its items are made one by one, as other threads have other items of its
    caller's to make.

    Args:
        function: called by several threads.
        items: asked for one after the other.
        begun_at_most: so many are begun before they are asked for.  By default a few, so that neither items nor
            results pile up; where both are small, and some take far longer than others, all of them leave no thread
            waiting for the slowest.
    """
    most = processors() if begun_at_most is None else begun_at_most
    if getattr(_here, "is_of_pool", False):
        yield from map(function, items)
        return
    begun: deque[Future[_Result]] = deque()
    try:
        for item in items:
            begun.append(_pool().submit(function, item))
            if len(begun) > most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def aside(function: Callable[[], _Result]) -> Future[_Result]:
    """What `function` will have returned, on which a thread of its own works."""
    thread = ThreadPoolExecutor(1)
    try:
        return thread.submit(function)
    finally:
        thread.shutdown(wait=False)


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items, none of which is None, each made by another thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def one_blas_thread() -> AbstractContextManager[object]:
    """A block in which products of matrices run in the thread that asks for them.

    Their last digits do not depend on the number of processors then, nor do they wait for threads of ours.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limits


@cache
def _pool() -> ThreadPoolExecutor:
    """Kept, as starting threads takes longer than many a question."""
    return ThreadPoolExecutor(processors(), initializer=setattr, initargs=(_here, "is_of_pool", True))
