"""Runs: where they are kept, and how they are queued, started and stopped. Nothing branches on where a run came from.

store.py   folders of runs: made, found, listed, given away, deleted
summary.py tables over runs
jobs.py    runs are asked for, wait, go on, are stopped; what an app left behind is found again
queue.py   Dask: embedded in the app, or a cluster; attending.py sees a run's process to its end
standby.py the process that waits warm for the next run, and measures how long one would take
arrival.py a run from somebody else, as a zip; received.py checks what is in it; parquet_apart.py and
           pages_of_parquet.py read its predictions, in a process of their own
commands.py foreground.py sweep.py ship.py    python -m poolviz train | sweep | ship
"""
