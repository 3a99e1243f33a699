"""Runs: where they are kept, and how they are queued, started and stopped. Nothing branches on where a run came from.

store.py   folders of runs: made, found, listed, given away, deleted
jobs.py    the queue: a run waits for its place, its process is attended to, stopped, and told when it dies
"""
