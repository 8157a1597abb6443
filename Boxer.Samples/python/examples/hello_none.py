"""The smallest run: one command, no network."""

import os

from boxer import BoxerClient

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")

with BoxerClient() as client:
    result = client.run(image=IMAGE, cmd=["python3", "-c", "print(6 * 7)"], network="none")

print(f"exit code {result.exit_code}, stdout {result.stdout!r}")
