"""Streams output while the command runs."""

import os
import sys

from boxer import BoxerClient, RunEnded, RunStarted, RunText

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")
SCRIPT = """\
import sys, time
for n in range(3):
    print("step", n, flush=True)
    time.sleep(0.2)
sys.exit("no step 3")
"""

with BoxerClient() as client, client.stream(image=IMAGE, cmd=["python3", "-c", SCRIPT]) as events:
    for event in events:
        if isinstance(event, RunStarted):
            print(f"started {event.exec_id}")
        elif isinstance(event, RunText):
            (sys.stdout if event.stream == "stdout" else sys.stderr).write(event.text)
        elif isinstance(event, RunEnded):
            print(f"ended with exit code {event.result.exit_code}")
