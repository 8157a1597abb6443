"""Files that a run writes under /output are kept with persist=True and can be downloaded."""

import os

from boxer import BoxerClient

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")
SCRIPT = "open('/output/squares.bin', 'wb').write(bytes(n * n for n in range(16)))"

with BoxerClient() as client:
    result = client.run(image=IMAGE, cmd=["python3", "-c", SCRIPT], persist=True)
    for file in result.output_files:
        content = client.download_file(file.path, max_bytes=1024)
        print(f"{file.path.split('/')[-1]}: {file.size} bytes {list(content[:6])} ...")
