"""Follows the events of Millrace over NATS, and goes on where it was after a break (Python 3.9 or later, nats-py 2).

    NATS_URL=nats://127.0.0.1:4222 NATS_USER=sub_... NATS_PASSWORD=mrs_... POSITION_FILE=position python3 main.py
"""

import asyncio
import json
import os
import signal
import sys

import nats

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
USER = os.environ["NATS_USER"]
PASSWORD = os.environ["NATS_PASSWORD"]
POSITION = os.environ.get("POSITION_FILE", "position")


def next_question():
    """What comes after the position that was kept; everything that is left, where there is none."""
    if not os.path.exists(POSITION):
        return {"from": "beginning", "waitMs": 25_000}
    with open(POSITION, encoding="utf-8") as file:
        return {"after": file.read(), "waitMs": 25_000}


def keep(position):
    """Whole or not at all, also when the power goes."""
    with open(f"{POSITION}.new", "w", encoding="utf-8") as file:
        file.write(position)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{POSITION}.new", POSITION)


async def follow():
    client = await nats.connect(
        URL,
        user=USER,
        password=PASSWORD,
        inbox_prefix=f"_INBOX.{USER}".encode(),  # Answers come nowhere else.
        max_reconnect_attempts=-1,
    )
    while True:
        try:
            question = json.dumps(next_question()).encode()
            reply = await client.request(f"subscribers.{USER}.read", question, timeout=30)
            refused = (reply.headers or {}).get("Nats-Service-Error")
            if refused:
                raise RuntimeError(refused)
            answer = json.loads(reply.data)
            if "gap" in answer:
                print(answer["gap"]["detail"], file=sys.stderr)
            for event in answer["events"]:
                print(event["type"], event["id"], event["source"], flush=True)
            # After the work: a crash before this line has the events come again, never lost.
            keep(answer["position"])
        except Exception as error:  # The server is away, or nobody answered in time.
            print(f"{error!r}; trying again", file=sys.stderr)
            await asyncio.sleep(1)


async def main():
    task = asyncio.create_task(follow())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass


asyncio.run(main())
