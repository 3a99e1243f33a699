"""Training: a configuration, its data and model, one loop. Knows nothing of pages, queues or where runs are kept.

config.py     RunConfig: everything that decides a run, checked in one sentence before anything starts
data.py       task -> splits on the device, and batches of them
models.py     report B's network with the pooling slot filled from the registry; encoder -> pooling -> classifier
footprint.py  report B's estimate of memory: activations of a batch and parameters
loop.py       the loop, under accelerate
"""
