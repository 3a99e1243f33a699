"""The queue of runs is `dask.distributed`: embedded in this process, or the cluster that POOLVIZ_SCHEDULER names.

A task attends to a process that trains (`attending.py`), so a worker needs one thread and hardly any memory. Workers
of a cluster are started from the project's folder with `--nthreads 1` and share the folder of runs; its scheduler
keeps the order strictly with DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0. Knows nothing of who asks for runs,
nor of limits.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress

import dask
from dask.task_spec import Task
from distributed import Client, Future, LocalCluster, fire_and_forget

from poolviz.runs import store
from poolviz.runs.attending import LEAVING, attend, tell
from poolviz.runs.standby import PLACES
from poolviz.runs.store import Run

CONNECT = 5.0  # seconds to reach a scheduler
SETTINGS = {  # of an embedded cluster
    "distributed.worker.profile.enabled": False,  # it looks at all threads a hundred times a second
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.scheduler.worker-saturation": 1.0,  # a run waits at the scheduler, not at a busy worker
    "distributed.scheduler.http.routes": [],  # it opens a port whatever it is told: on this machine alone, and mute
    "distributed.worker.http.routes": [],
}


class Queue:
    """This process's way to the workers; connected when it is first needed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None
        self._waiting: dict[str, Run] = {}  # task -> its run, in the order in which they were asked for

    def connect(self, workers: int = 0) -> Client:
        """The client of the cluster; ValueError, one sentence, where there is none.

        An embedded one, begun by this call, has `workers` slots, which share the GPUs; 0: one a GPU, one in all
        without a GPU.
        """
        with self.lock:
            if self._client is None or self._client.status != "running":
                address = os.environ.get("POOLVIZ_SCHEDULER", "").strip()
                self._client = self._reach(address) if address else self._embed(workers)
            return self._client

    def _reach(self, address: str) -> Client:
        try:
            return Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, TimeoutError):
            raise ValueError(
                f"No Dask scheduler answers at POOLVIZ_SCHEDULER={address[:100]}: start one with `dask scheduler`, "
                "or unset POOLVIZ_SCHEDULER to train on this machine."
            ) from None

    def _embed(self, workers: int) -> Client:
        """Workers in this process: they only wait for processes that train."""
        slots = _slots()
        PLACES.environments = [slots[number % len(slots)] for number in range(workers or len(slots))]
        with dask.config.set(SETTINGS):
            self._cluster = LocalCluster(
                n_workers=len(PLACES.environments),
                threads_per_worker=1,
                processes=False,
                worker_dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                memory_limit=0,  # the app's own memory shall not pause the queue
                silence_logs=logging.CRITICAL,
            )
            return Client(self._cluster, set_as_default=False)

    def put(self, run: Run, again: bool = False) -> None:
        """At the end of the queue. A task's name is its run's, so that the same is never queued twice."""
        ticket = run.job.get("ticket", "")
        task, folder = f"{run.name}-{ticket}", str(run.folder.absolute())
        with self.lock:
            client = self.connect()
            self._waiting[task] = run
            # Tasks that produce data wait at the scheduler for a free worker, in the order of the calls; others are
            # dealt out at once, and a late one may overtake an early one that waits behind a long run.
            work = Task(task, attend, folder, again, ticket, _data_producer=True)
            (future,) = client.get({task: work}, [task], sync=False, fifo_timeout="0s")
        fire_and_forget(future)  # on a cluster it survives this process
        future.add_done_callback(self._done)

    def _done(self, future: Future) -> None:
        with self.lock:
            run = self._waiting.pop(str(future.key), None)
        if run is not None and future.status == "error":  # its workers died, again and again
            tell(run, "failed", "The queue gave it up: the workers that took it have died.")
        if run is not None and future.status == "cancelled" and not LEAVING.is_set():
            threading.Thread(target=self._put_again, args=(run,), daemon=True).start()

    def _put_again(self, run: Run) -> None:
        """The scheduler was started anew and has forgotten what waited; it is asked until it answers."""
        while not LEAVING.wait(CONNECT) and not run.ended:
            with suppress(ValueError):
                return self.put(run, again=run.weights("checkpoint").is_file())

    def ahead(self, run: Run) -> int:
        """How many runs wait before it."""
        with self.lock:
            waiting = list(self._waiting.values())
        if run.name in (names := [each.name for each in waiting]):
            before = waiting[: len(names) - 1 - names[::-1].index(run.name)]
        else:  # another process has queued it
            before = [each for each in store.users_runs() if each.created < run.created]
        return len({each.name for each in before if each.name != run.name and each.state == "queued"})

    def close(self) -> None:
        """Leave the queue; what it embeds ends, and what trains goes on."""
        with self.lock:
            client, cluster = self._client, self._cluster
            self._client = self._cluster = None
            self._waiting = {}
        for each in (client, cluster):
            if each is not None:
                with suppress(OSError, TimeoutError):
                    each.close(timeout=5)


def _slots() -> list[dict[str, str]]:
    """What the processes of each slot are told: which GPU is theirs, where there are several."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return [{}]
    known = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return [{"CUDA_VISIBLE_DEVICES": device.strip()} for device in known.split(",")[:count]]


QUEUE = Queue()
