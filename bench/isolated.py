"""Functions run in a process of their own, so that measurements do not share a heap.

It knows nothing of what is measured.
"""

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from collector.garbage import GC_THRESHOLDS

_P = ParamSpec("_P")
_R = TypeVar("_R")


def run_isolated(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """The function's result, from a new interpreter."""
    with started(function, *args, **kwargs) as future:
        return future.result()


@contextmanager
def started(
    function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
) -> Iterator["Future[_R]"]:
    """The function under way in a new interpreter."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        yield pool.submit(function, *args, **kwargs)


@contextmanager
def collector_like_gc() -> Iterator[None]:
    """Collect garbage as seldom as the collector does, and never walk through the input."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
