"""Runs: where they are kept, and how they are queued, started and stopped. Nothing branches on where a run came from.

store.py   one folder a run: configuration, environment, status, metrics, summary, predictions, weights
"""
