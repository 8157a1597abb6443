#!/usr/bin/env python3
"""Changes everything that a warm-up of user 0 can change, besides the files of its image: leave.py leave|look [connect]

"leave" makes the changes and prints which of them the kernel accepted. "look" prints the state that a run finds;
with "connect" also whether a port that the warm-up used is free.
"""

import ctypes
import os
import signal
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
settings = [os.path.join(top, name) for top, _, names in os.walk("/proc/sys") for name in names
            if os.lstat(os.path.join(top, name)).st_mode & 0o222]
port = 4444


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def connect():
    """Leaves the port in TIME_WAIT."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted = server.accept()[0]
            accepted.close()
            client.recv(1)


def become_another():
    """Leaves a process of another user that ignores signals and has a child."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        os.setsid()
        for number in (1, 2, 15):
            signal.signal(number, signal.SIG_IGN)
        os.fork()
        os.write(writer, b"x")
        libc.pause()
        os._exit(0)
    os.close(writer)
    os.read(reader, 1) or 1 / 0


def below():
    """Goes to the directory below the root, which chroot(2) makes reachable. Only user 0 gets there."""
    os.makedirs("/tmp/root", exist_ok=True)
    outside = os.open("/", os.O_RDONLY)
    try:
        os.chroot("/tmp/root")
    except PermissionError:
        return
    os.fchdir(outside)
    os.chdir("..")
    os.chroot(".")


def leave():
    changes = {
        "file in /dev": lambda: write("/dev/left", "left"),
        "fifo in /dev": lambda: os.mkfifo("/dev/left-fifo"),
        "device in /dev": lambda: os.mknod("/dev/left-null", 0o020666, os.makedev(1, 3)),
        "link in /dev": lambda: os.symlink("/left", "/dev/left-link"),
        "directory in /dev": lambda: os.mkdir("/dev/left-directory"),
        "name in /dev": lambda: os.rename("/dev/full", "/dev/left-full"),
        "mode in /dev": lambda: os.chmod("/dev/null", 0o600),
        "owner in /dev": lambda: os.chown("/dev/zero", 33, 33),
        "mode of /dev": lambda: os.chmod("/dev", 0o700),
        "attribute of /dev": lambda: os.setxattr("/dev", "user.left", b"1"),
        "mode in /dev/pts": lambda: os.chmod("/dev/pts/ptmx", 0o600),
        "mode of /dev/pts": lambda: os.chmod("/dev/pts", 0o700),
        "file in /dev/shm": lambda: write("/dev/shm/left", "left"),
        "mode of /proc": lambda: os.chmod("/proc", 0o700),
        "mode in /proc": lambda: os.chmod("/proc/uptime", 0o600),
        "mode of /proc/cpuinfo": lambda: os.chmod("/proc/cpuinfo", 0o600),
        "mode of /proc/meminfo": lambda: os.chmod("/proc/meminfo", 0o600),
        "mode of processors": lambda: os.chmod("/sys/devices/system/cpu", 0o700),
        "list of processors": lambda: os.truncate("/sys/devices/system/cpu/online", 0),
        "/proc/cpuinfo": lambda: os.truncate("/proc/cpuinfo", 0),
        "mode in /proc/sys": lambda: os.chmod("/proc/sys/kernel", 0o700),
        "priority of PID 1": lambda: os.setpriority(os.PRIO_PROCESS, 1, 7),
        "processors of PID 1": lambda: os.sched_setaffinity(1, {0}),
        "name of PID 1": lambda: write("/proc/1/comm", "left"),
        "OOM score of PID 1": lambda: write("/proc/1/oom_score_adj", "7"),
        "scheduler of PID 1": lambda: os.sched_setscheduler(1, 0, os.sched_param(0)),
        "host name": lambda: socket.sethostname("left"),
        "limit of memory": lambda: write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7"),
        "cgroup": lambda: os.mkdir("/sys/fs/cgroup/cpu/left"),
        "task of a cgroup": lambda: write("/sys/fs/cgroup/cpu/tasks", "1"),
        "/proc/meminfo": lambda: write("/proc/meminfo", "left"),
        "shared memory": lambda: libc.shmget(7, 4096, 0o1666) >= 0 or 1 / 0,
        "message queue": lambda: libc.msgget(7, 0o1666) >= 0 or 1 / 0,
        "semaphore": lambda: libc.semget(7, 1, 0o1666) >= 0 or 1 / 0,
        "port": connect,
        "directory of PID 1": lambda: (os.rmdir("/.boxer"), os.symlink("/tmp", "/.boxer")),
        "process of another user": become_another,
        "input of the run": lambda: os.close(os.open("/proc/1/fd/0", os.O_RDONLY | os.O_NONBLOCK)),
        "output of the run": lambda: write("/proc/1/fd/1", "left"),
        "errors of the run": lambda: write("/proc/1/fd/2", "left"),
    }
    for number in range(3):
        changes[f"mode of stream {number}"] = lambda path=f"/proc/1/fd/{number}": os.chmod(path, 0o640)
        changes[f"owner of stream {number}"] = lambda path=f"/proc/1/fd/{number}": os.chown(path, 33, 33)
    values = {"tcp_sack": "0", "ptrace_scope": "1", "ip_local_port_range": "40000 40100"}
    for path in settings:
        changes["setting " + path] = lambda path=path: write(path, values.get(os.path.basename(path), "4096 8192 16384"))
    if os.fork() == 0:
        os.setsid()
        libc.pause()
    if os.fork() == 0:
        below()
        for change in (lambda: os.chmod("/", 0o700), lambda: os.mkdir("/left"), lambda: os.setxattr("/", "user.left", b"1"), lambda: os.utime("/", (0, 0))):
            try:
                change()
                print("below the root", flush=True)
            except OSError:
                pass
        os._exit(0)
    os.wait()
    for name, change in changes.items():
        try:
            change()
            print(name)
        except (OSError, ArithmeticError):
            pass


def listed(top):
    for path in [top] + [os.path.join(where, name) for where, directories, files in os.walk(top) for name in sorted(directories + files)]:
        state = os.lstat(path)
        try:
            attributes = os.listxattr(path, follow_symlinks=False)
        except OSError:
            attributes = []
        yield f"{path} {state.st_mode:o} {state.st_uid} {state.st_gid} {state.st_rdev} {attributes}"


def look():
    for line in sorted([*listed("/dev"), *listed("/sys/devices/system/cpu")]):
        print(line)
    for name in sorted(name for name in os.listdir("/proc") if not name.isdigit()):
        print(name, oct(os.lstat("/proc/" + name).st_mode))
    for number in range(3):
        state = os.fstat(number)
        print(f"stream {number} {state.st_mode:o} {state.st_uid} {state.st_gid}")
    print(oct(os.stat("/proc").st_mode), oct(os.stat("/proc/sys/kernel").st_mode))
    for path in sorted(settings):
        print(path, open(path).read().split())
    for path in ("/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu/online", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/1/comm", "/proc/1/oom_score_adj"):
        # The boot time differs between sandboxes.
        print("".join(line for line in open(path) if not line.startswith("btime ")))
    print(sorted(os.listdir("/sys/fs/cgroup/cpu")),
          [libc.semget(key, 1, 0) for key in range(1, 9)], [libc.shmget(key, 1, 0) for key in range(1, 9)])
    # The numbers of mounts and devices differ between sandboxes.
    print(sorted(" ".join(line.split()[3:]) for line in open("/proc/self/mountinfo")))
    for process in (0, 1):
        print(os.getpriority(os.PRIO_PROCESS, process), os.sched_getaffinity(process), os.sched_getscheduler(process))
    print(socket.gethostname(), os.getsid(1), [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())])
    if os.fork() == 0:
        below()
        state = os.stat("/")
        print([] if os.path.exists("/etc") else os.listdir("/"), oct(state.st_mode), state.st_uid, state.st_mtime == 0, os.listxattr("/"), flush=True)
        os._exit(0)
    os.wait()
    if "connect" in sys.argv:
        connect()
        print("connected")


{"leave": leave, "look": look}[sys.argv[1]]()
