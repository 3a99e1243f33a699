"""What glibc does with freed memory, as glibc itself tells."""

import subprocess
import sys

import pytest

# threads that live at once and each allocate; prints how many heaps there are
HEAPS = """
import ctypes, os, sys, tempfile, threading
if len(sys.argv) > 1:
    from poolviz.training.memory import few_arenas
    assert few_arenas(int(sys.argv[1]))
barrier, libc = threading.Barrier(12), ctypes.CDLL("libc.so.6")
def work():
    kept = [bytearray(100_000) for _ in range(20)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as told:
    file = ctypes.c_void_p(libc.fopen(told.name.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(told.read().count(b"<heap "))
"""


def heaps(*arguments: str) -> int:
    command = [sys.executable, "-c", HEAPS, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc, which Linux has")
def test_threads_share_few_heaps():
    assert heaps() >= 8
    assert heaps("2") <= 2
