"""Worker processes: one thread each, so that what a task computes does not depend on how many there are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

import torch
from threadpoolctl import threadpool_limits

from lossatlas.errors import WorkersDied
from lossatlas.execution.jobs import Job


class Processes:
    """A pool of worker processes as a back-end."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, jobs: Sequence[Job], tick: Callable[[float], None]) -> Iterator[tuple[Job, Mapping[str, float]]]:
        """Raises WorkersDied when a worker process dies, and what a job raises."""
        try:
            running: dict[Future[Mapping[str, float]], Job] = {
                self._pool.submit(job.work, *job.arguments): job for job in jobs
            }
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise WorkersDied(
                "a worker process was killed, perhaps for want of memory: run the same command again, "
                "with --workers 1 if it happens again; what was finished is kept"
            ) from error


@contextmanager
def start_workers(count: int) -> Iterator[Processes]:
    """`count` processes; on the way out whatever they still do is ended."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_initialize, initargs=(os.getpid(),))
    try:
        yield Processes(pool)
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _initialize(parent: int) -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's linear algebra has threads of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent was killed: nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
