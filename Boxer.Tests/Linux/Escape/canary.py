#!/usr/bin/env python3
"""Places canaries that no sandbox may find: canary.py TAG TOKEN PATH...

The canaries are a file with the token at each PATH, the token in System V shared memory, and listeners on a socket beside the first PATH,
on an abstract socket and on a port of loopback. Prints the port when all canaries are in place. At the end of standard input it prints one
line: "untouched", or the canaries that were touched. TOKEN is spelled backwards, so that no command line contains it.

With --leave before TAG, a separate process keeps the sockets and nothing is printed. A warm-up may leave such canaries.
"""

import ctypes
import os
import select
import socket
import sys

arguments = sys.argv[1:]
leave = arguments[:1] == ["--leave"]
tag, backwards, *paths = arguments[1:] if leave else arguments
token = backwards[::-1].encode()
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
key = int(tag, 16)

for path in paths:
    with open(path, "wb") as file:
        file.write(token)
    os.chmod(path, 0o666)

# 01600 (IPC_CREAT | IPC_EXCL): fails if the segment exists.
shared = libc.shmget(key, 4096, 0o1666 | 0o2000)
address = libc.shmat(shared, None, 0)
ctypes.memmove(address, token, len(token))

listeners = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)]
listeners[0].bind(paths[0] + ".sock")
os.chmod(paths[0] + ".sock", 0o777)
listeners[1].bind("\0boxer-canary-" + tag)
listeners[2].bind(("127.0.0.1", 0))
for listener in listeners:
    listener.listen()

if leave:
    if os.fork() == 0:
        os.setsid()
        select.select([], [], [])
    sys.exit()

try:
    print(listeners[2].getsockname()[1], flush=True)
    sys.stdin.read()
    touched = [path for path in paths if open(path, "rb").read() != token or os.stat(path).st_mode & 0o777 != 0o666]
    if ctypes.string_at(address, len(token)) != token:
        touched.append("shared memory")
    touched += [str(listener.getsockname()) for listener in select.select(listeners, [], [], 0)[0]]
    print(", ".join(touched) or "untouched")
finally:
    libc.shmctl(shared, 0, None)
