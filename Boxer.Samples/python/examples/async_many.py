"""Many runs at once. Runs that a busy host rejects are retried after the time that it suggests."""

import asyncio
import os

from boxer import AsyncBoxerClient, BoxerCapacityError

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")


async def square(client: AsyncBoxerClient, number: int) -> int:
    while True:
        try:
            result = await client.run(image=IMAGE, cmd=["python3", "-c", f"print({number} ** 2)"])
            return int(result.stdout)
        except BoxerCapacityError as error:
            await asyncio.sleep(error.retry_after or 1)


async def main() -> None:
    async with AsyncBoxerClient() as client:
        print(await asyncio.gather(*(square(client, number) for number in range(8))))


asyncio.run(main())
