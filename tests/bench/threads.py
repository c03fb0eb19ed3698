"""What it costs that the engine's threads wait for each other by spinning, alone and beside another busy process.

The multiplications of one step of the sample model, by as many threads as there are cores: libgomp's own way of
waiting beside ours (``serving.engine.launch``).
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from serving.engine.launch import SHORT_SPIN

SECONDS = 5.0
WAYS: dict[str, dict[str, str]] = {"libgomp's": {}, "ours": SHORT_SPIN}
SIZES = {"decode, 4 sequences": 4, "prefill, 512 tokens": 512}


def measure() -> Mapping[str, float | int | str]:
    cores = len(os.sched_getaffinity(0))
    figures: dict[str, float | int | str] = {"threads": cores}
    for place, neighbours in (("alone", 0), ("beside a busy process", 1)):
        for what, rows in SIZES.items():
            for way, variables in WAYS.items():
                with _busy(neighbours):
                    command = [sys.executable, "-m", "tests.bench.threads", str(rows)]
                    env = os.environ | variables | {"OMP_NUM_THREADS": str(cores)}
                    wall, cpu = subprocess.check_output(command, env=env, text=True).split()
                figures[f"{place}, {what}, {way}: ms a step"] = float(wall)
                figures[f"{place}, {what}, {way}: ms of processor"] = float(cpu)
    return figures


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    running = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    yield
    for process in running:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def _steps(rows: int) -> tuple[float, float]:
    """Milliseconds by the clock and of the processor that one step takes."""
    import torch

    width, kv, inner, words, layers = 576, 192, 1536, 49152, 30
    shapes = [
        (width, width),
        (width, kv),
        (width, kv),
        (width, width),
        (width, inner),
        (width, inner),
        (inner, width),
    ]
    weights = [[torch.randn(*shape) for shape in shapes] for _ in range(layers)]
    head, x = torch.randn(width, words), torch.randn(rows, width)

    def step() -> None:
        h = x
        for query, key, value, out, gate, up, down in weights:
            h @ key, h @ value
            h = torch.nn.functional.layer_norm((h @ query) @ out, (width,))
            h = torch.nn.functional.layer_norm(torch.nn.functional.silu(h @ gate) * (h @ up) @ down, (width,))
        h[-4:] @ head

    with torch.inference_mode():
        step()
        began, cpu, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < SECONDS:
            step()
            done += 1
        return 1000 * (time.perf_counter() - began) / done, 1000 * (time.process_time() - cpu) / done


if __name__ == "__main__":
    print(*_steps(int(sys.argv[1])))  # noqa: T201 - to the process that started this one
