"""Keeps a sandbox: files, commands, a server, and a process with a terminal."""

import os

from boxer import BoxerClient, ProcessEnded

IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")
SERVER = """\
import socket
with socket.create_server(("127.0.0.1", 8000)) as listener:
    print("listening", flush=True)
    with listener.accept()[0] as connection:
        connection.sendall(connection.recv(100).upper())
"""

with BoxerClient() as client, client.session(image=IMAGE, workspace={}, idle_timeout=60) as box:
    box.files.write("server.py", SERVER)
    print("files:", ", ".join(file.path for file in box.files.list()))

    with box.start(["python3", "server.py"]) as server:
        with server.events() as events:
            print("server:", next(events))
        with box.connect(8000) as connection:
            connection.send(b"hello")
            print("answer:", connection.recv())

    with box.start(["sh", "-c", "stty size; exit 3"], terminal=(100, 30)) as process:
        for event in process:
            if isinstance(event, ProcessEnded):
                print("terminal ended with exit code", event.exit_code)
            else:
                print("terminal:", event.data)
