"""Training: a configuration, its data and model, one loop, one folder. Knows nothing of pages and queues.

config.py     RunConfig: everything that decides a run, checked in one sentence before anything starts
fetch.py      is a task's data at hand, and its download
check.py      what would end a run at its beginning, found before
data.py       task -> splits on the device, and batches of them
models.py     report B's network with the pooling slot filled from the registry; encoder -> pooling -> classifier
footprint.py  report B's estimate of memory: activations of a batch and parameters
evaluation.py a model judged on a split
loop.py       the loop, under accelerate
estimate.py   seconds of a step here, measured on the first ones
plan.py       steps and seconds that lie ahead, by arithmetic
folder.py     a run's folder as the training process writes it
memory.py    a step's freed memory is kept for the next
work.py       the process: do the run in a folder, or stand by for one
"""
