"""A real OpenAI-compatible server for the tests: SmolLM2's GGUF behind xllamacpp, in a process of its own.

`with serving() as url:`, or `python tests/server.py` to have one by hand.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


@contextmanager
def serving() -> Iterator[str]:
    """The server's address up to /v1, on a free loopback port; it ends with the block, or with this process."""
    quiet = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}  # threads that wait do not eat a shared core
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | quiet,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http"), "the server did not start: python tests/server.py shows why"
        yield url
    finally:
        process.kill()
        process.wait()


def main() -> None:
    import importlib.util

    import xllamacpp

    from real.models.registry import KNOWN

    spec = KNOWN["smollm2-135m"]
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(importlib.util.find_spec(spec.package).origin).parent / spec.gguf)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx = 4, 8192
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()  # until the parent goes, however it goes


if __name__ == "__main__":
    main()
