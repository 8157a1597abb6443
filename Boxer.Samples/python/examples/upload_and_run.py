"""Uploads a script, which appears in the sandbox below / and reads its standard input."""

import os

from boxer import BoxerClient

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")
SCRIPT = """\
import sys
words = sys.stdin.read().split()
print(len(words), "words, the longest is", max(words, key=len))
"""

with BoxerClient() as client:
    path = client.upload_file("upload-and-run/main.py", SCRIPT)
    result = client.run(
        image=IMAGE,
        cmd=["python3", f"/{path}"],
        files=[path],
        stdin="untrusted code runs in a sandbox",
    )

print(result.stdout, end="")
