"""Limits as a dict. The wall-clock limit ends the second run; the error has its output."""

import os

from boxer import BoxerClient, BoxerTimeoutError

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")
ENDLESS = "import time; print('started', flush=True); time.sleep(3600)"

with BoxerClient() as client:
    limits = {"cpu_cores": 0.5, "memory_mb": 128, "pids_limit": 32, "wall_clock_secs": 10, "nofile": 64}
    result = client.run(
        image=IMAGE,
        cmd=["python3", "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"],
        limits=limits,
    )
    print(f"open files: {result.stdout.strip()}")

    try:
        client.run(image=IMAGE, cmd=["python3", "-c", ENDLESS], limits={**limits, "wall_clock_secs": 5})
    except BoxerTimeoutError as error:
        print(f"ended with status {error.status_code} after it printed {error.stdout!r}")
