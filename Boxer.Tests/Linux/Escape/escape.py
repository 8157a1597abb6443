#!/usr/bin/env python3
"""Tries to reach and change everything outside its sandbox: escape.py FACTS

FACTS is JSON: tag and backwards (the reversed token) of canary.py, paths and port of the host; in a session also beside, a word in the
arguments of its other commands. Prints a line for each attempt: its name, a tab, and its result: the errors, "ok" if the call succeeded, or
the findings. expected.txt has the expected results.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time

facts = json.loads(sys.argv[1])
# The token is only in this process's memory: any other copy is a canary.
token = facts["backwards"][::-1].encode()
canary = "boxer-canary"
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.syscall.restype = ctypes.c_long
init_user = 2147483392
mark = "escape-mark"


def call(number, *arguments):
    """Makes a system call and returns "ok" or the name of its error."""
    values = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number), *values) >= 0:
        return "ok"
    return errno.errorcode.get(ctypes.get_errno(), "?")


def attempt(function, *arguments):
    """Calls a Python function likewise, and closes the descriptor that it opened."""
    try:
        result = function(*arguments)
    except OSError as fault:
        return errno.errorcode.get(fault.errno, "?")
    if isinstance(result, int) and not isinstance(result, bool) and function is os.open:
        os.close(result)
    return "ok"


def in_child(function):
    """Calls a function that would change this process in a child, and returns its outcome."""
    return in_one_child([function])[0]


def in_one_child(functions):
    """Calls functions one after another in one child, and returns their outcomes; those after the death of the child are "died"."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for function in functions:
                os.write(writer, (function() + "\n").encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        outcomes = file.read().splitlines()
    os.waitpid(pid, 0)
    return outcomes + ["died"] * (len(functions) - len(outcomes))


def report_in_one_child(attempts):
    """Reports attempts, each a name and a function. The kernel refuses each, so that it changes nothing for the next."""
    for (name, _), outcome in zip(attempts, in_one_child([function for _, function in attempts])):
        report(name, outcome)


def report(name, outcomes):
    if not isinstance(outcomes, str):
        outcomes = ",".join(sorted(set(outcomes))) or "nothing"
    print(f"{name}\t{outcomes}", flush=True)


def read_some(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


def write_to(path, text, flags=0):
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_line(pid):
    """Returns the arguments of a process; nothing if it has ended."""
    try:
        return read_some(f"/proc/{pid}/cmdline")
    except OSError:
        return b""


def is_ours(pid):
    """Whether a process is PID 1, this one, or one of the same session. A child of PID 1 has its arguments until it executes the command."""
    if pid in (1, os.getpid()) or "beside" not in facts:
        return pid in (1, os.getpid())
    return command_line(pid) in (b"", command_line(1)) or facts["beside"].encode() in command_line(pid)


# -- canaries of the host, of a neighbouring sandbox, of earlier runs and warm-ups

def found_files():
    found = []
    for top, directories, files in os.walk("/"):
        if top.count("/") == 1 and top in ("/proc", "/sys"):
            # Processes are searched separately below.
            directories[:] = [name for name in directories if not name.isdigit() and name not in ("self", "thread-self")]
        found += [os.path.join(top, name) for name in files + directories if canary in name or mark in name]
        if top.split("/")[1] in ("tmp", "run", "etc", "var", "dev", "output", "root", "home"):
            for name in files:
                path = os.path.join(top, name)
                try:
                    if os.path.isfile(path) and token in read_some(path):
                        found.append(path)
                except OSError:
                    pass
    for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/passwd"):
        if mark.encode() in read_some(path):
            found.append(path)
    return found


report("files of others", found_files())
report("processes of others", [f"{pid}" for pid in processes() if not is_ours(pid)])
report("abstract socket of others", attempt(lambda: socket.socket(socket.AF_UNIX).connect("\0boxer-canary-" + facts["tag"])))
report("sockets that proc lists", [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if canary in line])
report("port of the host's loopback", attempt(lambda: socket.create_connection(("127.0.0.1", facts["port"]), 5).close()))
report("shared memory of others", call(29, int(facts["tag"], 16), 0, 0))
report("shared memory, any", [str(shared) for shared in range(64) if libc.shmat(shared, None, 0o10000) not in (None, ctypes.c_void_p(-1).value)])
report("semaphores, any", [str(number) for number in range(64) if libc.semctl(number, 0, 12) >= 0])
report("message queues, any", {call(71, number, 2, ctypes.create_string_buffer(256)) for number in range(64)})
report("own queue of messages, by its name", call(240, b"boxer-canary", 0, 0, None))

# -- the host's files

ways = ["", "/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/cwd", "/proc/1/task/1/root", "/proc/1/cwd" + "/.." * 20, "/.." * 40,
        "/proc/self/root/proc/1/root", "/dev/fd/0/../../..", "/proc/1/exe/../../..", "/proc/1/fd/0/../..", "/proc/1/map_files"]
everything = [way + path for way in ways for path in facts["paths"]]
report("read the host's files", {attempt(read_some, path) for path in everything})
report("write the host's files", {attempt(write_to, path, b"escaped") for path in everything})
report("make a file beside them", {attempt(os.open, os.path.dirname(path) + "/" + mark, os.O_WRONLY | os.O_CREAT) for path in everything if os.path.dirname(path) != "/tmp"})
report("connect to the host's socket", {attempt(lambda path=path: socket.socket(socket.AF_UNIX).connect(path + ".sock")) for path in facts["paths"]})
report("follow a link there", {attempt(lambda path=path: (os.symlink(path, "/tmp/link"), read_some("/tmp/link"))) if not os.path.lexists("/tmp/link") else attempt(read_some, "/tmp/link") for path in facts["paths"]})
handle = ctypes.create_string_buffer(struct.pack("Ii", 8, 1) + struct.pack("Q", 2) + bytes(112), 128)
report("open by a handle", call(304, -100, handle, 0))
report("host's paths in proc", [path for path in ("/proc/mounts", "/proc/self/mountinfo", "/proc/cmdline", "/proc/self/cgroup", "/proc/1/cmdline", "/proc/1/cgroup")
                                if os.path.exists(path) and any(os.path.dirname(host) in open(path).read() for host in facts["paths"])])

# -- descriptors

report("own descriptors", [name for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)])
report("list PID 1's descriptors", attempt(os.listdir, "/proc/1/fd"))


def open_of_init(number, flags):
    path = f"/proc/1/fd/{number}"
    # PID 1 keeps the output directory open, so that nobody can replace it.
    if os.path.isdir(path):
        return os.readlink(path)
    return attempt(os.open, path, flags | os.O_NONBLOCK)


report("open PID 1's descriptors", {open_of_init(number, flags) for number in range(64) for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)})
report("own descriptors again, for writing", {attempt(os.open, f"/proc/self/fd/{number}", os.O_RDWR | os.O_NONBLOCK) for number in range(3)})


def take_descriptors():
    pidfd = libc.syscall(ctypes.c_long(434), ctypes.c_long(1), ctypes.c_long(0))
    return errno.errorcode[ctypes.get_errno()] if pidfd < 0 else "; ".join({call(438, pidfd, number, 0) for number in range(16)})


report("take PID 1's descriptors", take_descriptors())
report("send on what is no socket of ours", {call(44, number, b"forged", 6, 0x4040, 0, 0) for number in range(64)})

# -- other commands of a session, PID 1 while it starts them, and its file worker: each has another user than this one, except for the worker

word = ctypes.create_string_buffer(8)
vector = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(word), 8), 16)
remote = ctypes.create_string_buffer(struct.pack("QQ", 0x400000, 8), 16)


def beside(kind):
    """Finds the processes of one kind of the session's other commands."""
    wanted = f"{facts['beside']}-{kind}".encode()
    return [pid for pid in processes() if pid != os.getpid() and wanted in command_line(pid).split(b"\0")]


def file_workers():
    """Finds children of PID 1 that live on without executing a command."""
    def unchanged():
        return {pid for pid in processes() if pid != 1 and command_line(pid) == command_line(1)}

    found = unchanged()
    time.sleep(0.5)
    return sorted(found & unchanged())


def misuse(path):
    """Reads from a descriptor of another process and writes to it, as far as it opens."""
    outcomes = []
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as fault:
            outcomes.append(errno.errorcode.get(fault.errno, "?"))
            continue
        opened = f"/proc/self/fd/{descriptor}"
        outcomes.append("opened " + os.readlink(opened).split(":")[0])
        # User 0 can write its own image: forged bytes in a library that a program has just opened would break every later one.
        if not os.path.isdir(opened) and not os.path.isfile(opened):
            attempt(os.read, descriptor, 4096) if flags != os.O_WRONLY else attempt(os.write, descriptor, b"forged\n")
        os.close(descriptor)
    return outcomes


def environment(pid):
    try:
        return "a secret" if b"SECRET=" in read_some(f"/proc/{pid}/environ") else "none of it"
    except OSError as fault:
        return errno.errorcode[fault.errno]


def numbers(pid):
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return range(8)


def report_others(name, pids, signals=(0, signal.SIGCONT)):
    report(f"{name}: is there", "yes" if pids else "no")
    report(f"{name}: descriptors", [outcome for pid in pids for number in numbers(pid) for outcome in misuse(f"/proc/{pid}/fd/{number}")])
    report(f"{name}: environment", [environment(pid) for pid in pids])
    report(f"{name}: memory", [attempt(os.open, f"/proc/{pid}/mem", flags) for pid in pids for flags in (os.O_RDONLY, os.O_RDWR)]
           + [call(number, pid, vector, 1, remote, 1, 0) for pid in pids for number in (310, 311)])
    report(f"{name}: trace", in_one_child([lambda pid=pid, request=request: call(101, request, pid, 0, 0) for pid in pids for request in (16, 0x4206)]))
    report(f"{name}: signal", [attempt(os.kill, pid, number) for pid in pids for number in signals])
    report(f"{name}: bound", [call(302, pid, 7, None, ctypes.create_string_buffer(16)) for pid in pids])
    report(f"{name}: root and program", [attempt(function, f"/proc/{pid}/{path}") for pid in pids for function, path in ((os.listdir, "root"), (os.listdir, "cwd"), (read_some, "exe"))])


def descriptors_at_starts():
    """Opens the descriptors of PID 1 and of its new children while PID 1 starts commands."""
    outcomes, seen, until = set(), set(), time.monotonic() + 60
    while len(seen) < 10 and time.monotonic() < until:
        seen.update(beside("start"))
        for pid in [1] + [pid for pid in processes() if pid != 1 and command_line(pid) == command_line(1)]:
            for number in numbers(pid):
                outcomes.update(misuse(f"/proc/{pid}/fd/{number}"))
    # Errors, and files that a program has just opened, depend on the moment.
    streams = tuple("opened " + kind for kind in ("host", "pipe", "socket", "anon", "/sys", "/dev/pts/0"))
    return {outcome for outcome in outcomes if outcome.startswith(streams)} | (set() if len(seen) >= 10 else {f"only {len(seen)} starts"})


def fill_process_table():
    """Makes processes until the kernel refuses one, and tells why."""
    made = []
    try:
        while len(made) < 1000:
            made.append(subprocess.Popen(["sleep", "1000"]))
        return f"{len(made)} processes"
    except OSError as fault:
        return errno.errorcode[fault.errno]
    finally:
        for process in made:
            process.kill()
            process.wait()


def fill_watches():
    """Makes many watches, and opens queues of notifications until the kernel refuses one. gVisor counts no watches; their memory is the limit."""
    queue = libc.inotify_init1(0o4000)
    outcomes = set()
    for number in range(500):
        path = f"/tmp/watched-{number}"
        os.path.isdir(path) or os.mkdir(path)
        outcomes.add("ok" if libc.inotify_add_watch(queue, path.encode(), 0xFFF) >= 0 else errno.errorcode[ctypes.get_errno()])
    while libc.inotify_init1(0o4000) >= 0:
        pass
    return ",".join(sorted(outcomes | {errno.errorcode[ctypes.get_errno()]}))


if "beside" in facts:
    everything_harmful = (0, signal.SIGCONT, signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    report_others("another exec", beside("exec"), everything_harmful)
    report_others("a process with a terminal", beside("terminal"), everything_harmful)
    report_others("a relayed process", beside("relayed"), everything_harmful)
    report_others("the file worker", file_workers())
    report("PID 1: descriptors and relays", [outcome for number in numbers(1) for outcome in misuse(f"/proc/1/fd/{number}")])
    # State 10 is TCP_LISTEN. PID 1 has only clients, one for each connection of the host.
    report("ports that listen", [line.split()[1] for name in ("tcp", "tcp6") if os.path.exists(f"/proc/net/{name}")
                                 for line in open(f"/proc/net/{name}").read().splitlines()[1:] if line.split()[3] == "0A"])
    report("connect to a port of PID 1", {attempt(lambda port=port: socket.create_connection(("127.0.0.1", port), 5).close()) for port in range(1, 128)})
    report("fill the process table", fill_process_table())
    report("fill the watches", in_child(fill_watches).split(","))
    report("stop the file worker", [attempt(os.kill, pid, signal.SIGSTOP) for pid in file_workers()])
    report("terminals of others", {outcome for name in os.listdir("/dev/pts") if name != "ptmx" for outcome in misuse("/dev/pts/" + name)})
    report("every signal to PID 1", {attempt(os.kill, 1, number) for number in range(1, 65)})
    report("descriptors while commands start", descriptors_at_starts())

# -- PID 1

report("signal PID 1", {attempt(os.kill, 1, number) for number in (0, 1, 2, 9, 11, 15, 17, 18, 19)})
report("signal a thread of PID 1", {call(234, 1, 1, number) for number in (9, 19)})
report("signal its group", {attempt(os.killpg, 1, 9)})


def send_when_ready(kind, identifier):
    """Makes the kernel send SIGKILL to PID 1 when a pipe of ours becomes ready (fcntl(2), F_SETOWN)."""
    reader, writer = os.pipe()
    try:
        if kind is None:
            fcntl.fcntl(reader, fcntl.F_SETOWN, identifier)
        else:
            fcntl.fcntl(reader, 15, struct.pack("ii", kind, identifier))
        fcntl.fcntl(reader, fcntl.F_SETSIG, 9)
        fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
        os.write(writer, b"x")
        return "ok"
    except OSError as fault:
        return errno.errorcode.get(fault.errno, "?")


report("have a descriptor signal PID 1", {send_when_ready(None, 1), send_when_ready(0, 1), send_when_ready(1, 1)})
report("queue a signal to PID 1", call(129, 1, 9, ctypes.create_string_buffer(struct.pack("iii", 9, 0, -1), 128)))
report("trace PID 1", in_one_child([lambda request=request: call(101, request, 1, 0, 0) for request in (16, 0x4206)]))
report("read PID 1's memory", {call(310, 1, vector, 1, remote, 1, 0), attempt(lambda: os.pread(os.open("/proc/1/mem", os.O_RDONLY), 8, 0x400000))})
report("write PID 1's memory", {call(311, 1, vector, 1, remote, 1, 0), attempt(lambda: os.pwrite(os.open("/proc/1/mem", os.O_RDWR), b"escaped!", 0x400000))})
report("environment of PID 1", [entry.decode().split("=")[0] for entry in read_some("/proc/1/environ").split(b"\0") if entry])
report("write files of PID 1 in proc", {attempt(write_to, f"/proc/1/{name}", b"0") for name in ("oom_score_adj", "uid_map", "gid_map", "setgroups", "comm")})
report("bound PID 1", call(302, 1, 7, ctypes.create_string_buffer(struct.pack("QQ", 0, 0), 16), None))

# The program of PID 1, by every path that it had. The last attempt creates a file there, which nothing executes.
programs = [top + "/.boxer/init" for top in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd")] + ["/proc/1/exe", "/proc/1/task/1/exe"]


def map_program(path, flags):
    with open(path, "r+b" if flags == mmap.MAP_SHARED else "rb") as file:
        mmap.mmap(file.fileno(), 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE).close()


report("open PID 1's program", {attempt(os.open, path, flags) for path in programs for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, 0o10000000)})
report("change PID 1's program", {attempt(change, path) for path in programs for change in (lambda p: os.chmod(p, 0o777), lambda p: os.chown(p, os.getuid(), os.getgid()), lambda p: os.truncate(p, 0))})
report("map PID 1's program", {attempt(map_program, path, flags) for path in programs for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE)})
report("execute PID 1's program", in_one_child([lambda path=path: attempt(os.execv, path, ["init"]) for path in programs]))
report("name PID 1's program anew", {attempt(name, path, f"{where}/{mark}-init") for path in programs for where in ("/.boxer", "/tmp", "/var/tmp") for name in (os.link, os.rename)})
report("files beside PID 1's program", os.listdir("/.boxer") if os.access("/.boxer", os.R_OK) else "EACCES")
report("unmount PID 1's program", {call(166, path.encode(), 2) for path in programs})
report("mount on PID 1's program", {call(165, b"/bin/true", path.encode(), None, 4096, None) for path in programs})
report("make a file in its place", attempt(os.open, "/.boxer/init", os.O_WRONLY | os.O_CREAT, 0o777))
report("trace a child of its own", in_child(lambda: call(101, 0, 0, 0, 0)))

# -- users and capabilities

report("become another user", {in_child(lambda user=user: call(117, user, user, user)) for user in ({0, 1, 1000, init_user} - {os.getuid()})})
report("become another group", {in_child(lambda group=group: call(119, group, group, group)) for group in ({0, 1, 1000, init_user} - {os.getgid()})})
report("take other groups", in_child(lambda: call(116, 1, ctypes.create_string_buffer(struct.pack("I", 42), 4))))
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
report("give a file to PID 1's user", {attempt(os.chown, "/tmp", init_user, -1), attempt(os.chown, "/tmp", -1, init_user)})
report("capabilities", "/".join(status[name].strip().lstrip("0") or "0" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if name in status))
report("no_new_privs", str(libc.prctl(39, 0, 0, 0, 0)))
header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
report_in_one_child([
    ("take every capability", lambda: call(126, header, ctypes.create_string_buffer(b"\xff" * 24, 24))),
    ("undo no_new_privs", lambda: call(157, 38, 0, 0, 0, 0)),
])


def run_setuid():
    """Returns the users and capabilities with which the set-user-ID program and the capable program of the test image run."""
    seen = set()
    for program in ("/usr/bin/escape-setuid", "/usr/bin/escape-capable"):
        done = subprocess.run([program, "-c", "import os; print(os.geteuid(), os.getegid(), [l for l in open('/proc/self/status') if l.startswith('CapEff')])"], capture_output=True, text=True)
        ours = f"{os.geteuid()} {os.getegid()} ['CapEff:\\t{status['CapEff'].strip()}\\n']"
        seen.add("as ours" if done.stdout.strip() == ours else done.stdout.strip() + done.stderr.strip()[-100:])
    return seen


report("run set-user-ID and capable programs", run_setuid() if os.path.exists("/usr/bin/escape-setuid") else "as ours")
open("/tmp/setuid", "wb").write(open("/bin/true", "rb").read())
report("make a set-user-ID file", attempt(os.chmod, "/tmp/setuid", 0o6755))

# -- namespaces

flags = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "time": 0x80}
# The kernel grants those for cgroups and clocks, so they come last in the child.
unshared = {name: flag for name, flag in flags.items() if name not in ("cgroup", "time")}
unshared["user with all others"] = sum(flags.values()) & ~0x80
unshared.update((name, flags[name]) for name in ("cgroup", "time"))
outcomes = dict(zip(unshared, in_one_child([lambda flag=flag: call(272, flag) for flag in unshared.values()])))
for name in (*flags, "user with all others"):
    report(f"unshare {name}", outcomes[name])


def cloned(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result == 0:
        os._exit(0)
    return "ok" if result > 0 else errno.errorcode[ctypes.get_errno()]


clone_arguments = ctypes.create_string_buffer(struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)
clones = in_one_child([
    lambda: cloned(56, ctypes.c_long(0x10000000 | 17), None, None, None, None),
    *[lambda flags=flags: cloned(56, ctypes.c_long(0x8000 | flags), None, None, None, None) for flags in (17, 0, 9)],
    lambda: cloned(435, clone_arguments, ctypes.c_long(64)),
])
report("clone into a user namespace", clones[0])
report("clone a child of PID 1", clones[1:4])
report("clone3 into a user namespace", clones[4])


def enter(name):
    try:
        descriptor = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
    except OSError as fault:
        return errno.errorcode[fault.errno]
    return call(308, descriptor, 0)


report("enter PID 1's namespaces", in_one_child([lambda name=name: enter(name) for name in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup")]))

# -- as each user that user 0 can become, without its capabilities and with them


def become(user, keeps):
    """Changes to a user and its group without other groups, and keeps all capabilities or only those that the user has by default."""
    data = ctypes.create_string_buffer(24)
    libc.syscall(ctypes.c_long(125), header, data)
    words = struct.unpack("6I", data.raw)
    outcomes = [call(116, 0, 0), call(157, 8, int(keeps), 0, 0, 0), call(119, user, user, user), call(117, user, user, user)]
    if keeps:
        outcomes.append(call(126, header, ctypes.create_string_buffer(struct.pack("6I", words[1], words[1], 0, words[4], words[4], 0), 24)))
    return set(outcomes) - {"ok"}


def as_each(attempts, users=(0, 1, 33, 1000, 65534, 65535)):
    """Reports the outcomes of attempts, each a name and a function that returns a list, as each user: the errors of the change of user, or those of the function."""

    def try_all(user, keeps):
        errors = set()

        def change():
            errors.update(become(user, keeps))
            return "changed"

        return in_one_child([change] + [lambda function=function: " ".join(errors or set(function())) for _, function in attempts])[1:]

    outcomes = [try_all(user, keeps) for user in users for keeps in (False, True)]
    for number, (name, _) in enumerate(attempts):
        report("as each: " + name, [outcome for child in outcomes for outcome in child[number].split(" ")])


def become_many(users):
    return ",".join({call(117, user, 0, 0) for user in users} | {call(119, user, 0, 0) for user in users})


report("become every user and group below 65536", in_child(lambda: become_many(range(0, 65536, int(os.environ["STEP"])) if os.getuid() == 0 else (0, 1, 33, 65535))))
report("become those above", in_child(lambda: become_many((65536, 65537, 100000, init_user - 1, init_user, init_user + 1, 2**31, 2**32 - 2))).split(","))
as_each([
    ("signal PID 1", lambda: [attempt(os.kill, 1, number) for number in (0, 9, 15, 19)] + [call(234, 1, 1, 9), call(129, 1, 9, ctypes.create_string_buffer(struct.pack("iii", 9, 0, -1), 128))]),
    ("have a descriptor signal PID 1", lambda: [send_when_ready(None, 1), send_when_ready(0, 1)]),
    ("trace PID 1", lambda: [call(101, request, 1, 0, 0) for request in (16, 0x4206)]),
    ("memory of PID 1", lambda: [call(310, 1, vector, 1, remote, 1, 0), call(311, 1, vector, 1, remote, 1, 0)]
    + [attempt(lambda flags=flags: os.pread(os.open("/proc/1/mem", flags), 8, 0x400000)) for flags in (os.O_RDONLY, os.O_RDWR)]),
    ("descriptors of PID 1", lambda: [open_of_init(number, flags) for number in range(16) for flags in (os.O_RDONLY, os.O_WRONLY)]),
    ("root and program of PID 1", lambda: [attempt(os.listdir, "/proc/1/root"), attempt(os.chroot, "/proc/1/root"), attempt(os.open, "/proc/1/exe", os.O_RDONLY), attempt(os.chdir, "/proc/1/cwd")]),
    ("bound PID 1", lambda: [call(302, 1, 7, ctypes.create_string_buffer(struct.pack("QQ", 0, 0), 16), None)]),
    ("write files of PID 1", lambda: [attempt(write_to, f"/proc/1/{name}", b"0") for name in ("oom_score_adj", "uid_map", "gid_map", "setgroups")]),
    ("enter PID 1's namespaces", lambda: [enter(name) for name in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup")]),
    ("map its users", lambda: [attempt(write_to, f"/proc/self/{name}", b"0 0 1") for name in ("uid_map", "gid_map")]),
    ("become PID 1's user", lambda: [call(117, init_user, init_user, init_user), call(119, init_user, init_user, init_user)]),
    ("make a user namespace", lambda: [call(272, 0x10000000), cloned(56, ctypes.c_long(0x10000000 | 17), None, None, None, None)]),
    ("mount", lambda: [call(165, b"none", b"/tmp", b"tmpfs", 0, b""), call(165, b"/", b"/tmp", b"", 0x1000, b""), call(166, b"/proc", 2), call(155, b"/tmp", b"/tmp")]),
    ("raw sockets", lambda: [attempt(lambda: socket.socket(family, 3, protocol).close()) for family, protocol in ((2, 255), (2, 1), (17, 768))]),
    ("cgroups", lambda: [attempt(write_to, f"/sys/fs/cgroup/{name}", b"1") for name in ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "cpuset/cpuset.cpus", "cpu/tasks")]
    + [attempt(os.mkdir, f"/sys/fs/cgroup/{mark}"), attempt(os.chmod, "/sys/fs/cgroup", 0o777), attempt(write_to, "/sys/fs/cgroup/cpu/cgroup.procs", b"1")]),
])


def against_others(user, functions):
    """Returns the results of a user's attempts against a process of user 1000: one for each function, which gets the process and returns a list."""
    reader, writer = os.pipe()
    victim = os.fork()
    if victim == 0:
        os.write(writer, "".join(become(1000, False)).encode() or b"ready")
        signal.pause()
    ready = os.read(reader, 16).decode()
    os.close(reader)
    os.close(writer)
    errors = set()

    def change():
        errors.update(become(user, False) if user != os.getuid() else set())
        return "changed"

    try:
        if ready != "ready":
            return [ready] * len(functions)
        return in_one_child([change] + [lambda function=function: ",".join(sorted(errors or set(function(victim)))) for function in functions])[1:]
    finally:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)


for user in (0, 33, 1000, 65535):
    # A user who may trace the process could open more of it afterwards, so this attempt is the last.
    signals, opened, traced = against_others(user, [
        lambda victim: [attempt(os.kill, victim, number) for number in (0, 17)],
        lambda victim: [attempt(os.open, f"/proc/{victim}/mem", os.O_RDONLY), attempt(os.open, f"/proc/{victim}/fd/0", os.O_RDONLY | os.O_NONBLOCK)],
        lambda victim: [call(101, request, victim, 0, 0) for request in (16, 0x4206)],
    ])
    report(f"as {user}: signal a process of user 1000", signals)
    report(f"as {user}: trace it", traced)
    report(f"as {user}: open its memory and descriptors", opened)


def leave_root():
    """Leaves a chroot through a descriptor opened before, and goes up as far as possible."""
    root = os.stat("/")
    os.makedirs("/tmp/root/below", exist_ok=True)
    outside = os.open("/", os.O_RDONLY)
    outcome = attempt(os.chroot, "/tmp/root")
    if outcome != "ok":
        return outcome
    os.fchdir(outside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    now = os.stat("/")
    changed = {attempt(change) for change in (lambda: os.chmod("/", 0o777), lambda: os.mkdir("/" + mark), lambda: os.setxattr("/", "user.mark", b"1"), lambda: os.utime("/"))}
    reached = {attempt(read_some, path) for path in facts["paths"]} | {attempt(os.listdir, "/proc/1/root")}
    there = "this sandbox's root" if (now.st_dev, now.st_ino) == (root.st_dev, root.st_ino) else f"a root with {os.listdir('/')}"
    return f"{there},{','.join(sorted(changed))},{','.join(sorted(reached))}"


report("leave a root of its own", in_child(leave_root))

# -- mounts

mounts = [(b"none", b"tmpfs", 0), (b"/", b"", 0x1000), (b"proc", b"proc", 0), (b"sysfs", b"sysfs", 0), (b"cgroup", b"cgroup", 0), (b"cgroup2", b"cgroup2", 0),
          (b"overlay", b"overlay", 0), (b"devtmpfs", b"devtmpfs", 0), (b"/dev/vda", b"ext4", 0), (b"none", b"9p", 0), (b"mqueue", b"mqueue", 0)]
report_in_one_child([(f"mount {kind.decode() or 'bind'}", lambda source=source, kind=kind, flag=flag: call(165, source, b"/tmp", kind, flag, b"")) for source, kind, flag in mounts])
report("remount the root", in_one_child([lambda flag=flag: call(165, b"", b"/", b"", flag, b"") for flag in (0x20, 0x20 | 0x1000, 0x40000, 0x100000)]))
report("unmount", in_one_child([lambda path=path: call(166, path, 2) for path in (b"/", b"/tmp", b"/proc", b"/dev", b"/sys")]))
report("pivot_root", in_child(lambda: call(155, b"/tmp", b"/tmp")))
report("chroot", in_child(lambda: attempt(os.chroot, "/tmp")))
report("new calls for mounts", in_one_child([lambda number=number: call(number, b"tmpfs" if number == 430 else -100, 0, 0, 0, 0) for number in (428, 429, 430, 431, 432, 433, 442)]))

# -- devices and the kernel

for name, kind, major, minor in (("mem", 0o020000, 1, 1), ("kmsg", 0o020000, 1, 11), ("disk", 0o060000, 254, 0), ("null", 0o020000, 1, 3)):
    report(f"make the device {name}", {attempt(os.mknod, f"{where}/{mark}-{name}", kind | 0o666, os.makedev(major, minor)) for where in ("/tmp", "/dev", "/output")})
report("open those", {attempt(os.open, f"{where}/{mark}-{name}", flags | os.O_NONBLOCK)
                      for name in ("mem", "kmsg", "disk") for where in ("/tmp", "/dev", "/output") for flags in (os.O_RDONLY, os.O_RDWR)})
report("open devices", {attempt(os.open, "/dev/" + name, flags | os.O_NONBLOCK) for name in
                        ("mem", "kmem", "port", "kmsg", "vda", "sda", "nvme0n1", "kvm", "loop-control", "loop0", "mapper/control", "vhost-net", "snd/timer", "nvidiactl") for flags in (os.O_RDONLY, os.O_RDWR)})


def make_link():
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as fault:
        return errno.errorcode[fault.errno]
    return call(16, descriptor, 0x400454ca, ctypes.create_string_buffer(struct.pack("16sH", b"escape", 2), 40))


report("make a link with /dev/net/tun", in_child(make_link))
report("mount /dev/fuse", in_child(lambda: call(165, b"fuse", b"/tmp", b"fuse", 0, f"fd={os.open('/dev/fuse', os.O_RDWR)},rootmode=40000,user_id=0,group_id=0".encode())))
report("devices that are there", [name for name in os.listdir("/dev") if not name.startswith(mark)])
kernel = {"bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "init_module": (175, 0, 0, b""), "finit_module": (313, 0, b"", 0), "delete_module": (176, b"overlay", 0),
          "kexec_load": (246, 0, 0, 0, 0), "reboot": (169, 0xfee1dead, 672274793, 0x1234567, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1), "syslog": (103, 10, 0, 0),
          "sethostname": (170, b"escaped", 7), "setdomainname": (171, b"escaped", 7), "settimeofday": (164, ctypes.create_string_buffer(struct.pack("qq", 1, 0), 16), 0),
          "clock_settime": (227, 0, ctypes.create_string_buffer(struct.pack("qq", 1, 0), 16)), "swapon": (167, b"/tmp/setuid", 0), "swapoff": (168, b"/tmp/setuid"), "acct": (163, b"/tmp/setuid"),
          "quotactl": (179, 0x800002 << 8, 0, 0, 0), "vhangup": (153,), "fanotify_init": (300, 0, 0), "io_uring_setup": (425, 1, ctypes.create_string_buffer(120)), "userfaultfd": (323, 0),
          "modify_ldt": (154, 1, 0, 0), "kcmp": (312, 1, 1, 0, 0, 0), "lookup_dcookie": (212, 0, 0, 0), "nfsservctl": (180, 0, 0, 0), "process_madvise": (440, -1, 0, 0, 21, 0)}
for name, outcome in zip(kernel, in_one_child([lambda arguments=arguments: call(*arguments) for arguments in kernel.values()])):
    report(name, outcome)

# -- keys

report("add_key", call(248, b"user", b"canary", b"escaped", 7, -3))
report("request_key", call(249, b"user", b"boxer-canary", 0, -3))
report("keyctl", {call(250, operation, which, 0, 0, 0) for operation in (0, 6, 11) for which in (-1, -2, -3, -4, -5)})
report("read /proc/keys", {attempt(read_some, path) for path in ("/proc/keys", "/proc/key-users")})

# -- proc, sys and cgroups

report("write settings of the kernel", {attempt(write_to, "/proc/sys/" + name, b"1") for name in
       ("kernel/core_pattern", "kernel/hostname", "kernel/modprobe", "kernel/sysrq", "kernel/randomize_va_space", "kernel/ns_last_pid", "vm/drop_caches", "vm/overcommit_memory", "fs/binfmt_misc/register", "fs/file-max")})
for name in ("ipv4/ip_forward", "ipv4/tcp_sack", "core/somaxconn", "ipv4/conf/all/forwarding"):
    report(f"write /proc/sys/net/{name}", attempt(write_to, "/proc/sys/net/" + name, b"0"))
for name in ("kcore", "kmem", "kallsyms", "kmsg", "kpagemap", "sysrq-trigger", "config.gz", "sched_debug", "timer_list"):
    report(f"open /proc/{name}", {attempt(os.open, "/proc/" + name, flags | os.O_NONBLOCK) for flags in (os.O_RDONLY, os.O_WRONLY)})
report("pull the trigger of sysrq", attempt(write_to, "/proc/sysrq-trigger", b"c"))
report("spare itself from the host", attempt(write_to, "/proc/self/oom_score_adj", b"-1000"))
report("map its users", {attempt(write_to, "/proc/self/" + name, b"0 0 1") for name in ("uid_map", "gid_map")})
report("write in sys", {attempt(write_to, os.path.join(top, name), b"1") for top, _, files in os.walk("/sys") for name in files})
report("make a cgroup", {attempt(os.mkdir, os.path.join(top, mark)) for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu")})
limits = [f"/sys/fs/cgroup/{name}" for name in ("memory/memory.limit_in_bytes", "memory/memory.soft_limit_in_bytes", "cpu/cpu.cfs_quota_us", "cpu/cpu.shares", "cpuset/cpuset.cpus")]
shown = ["/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu/online"]
limits += shown
groups = [f"/sys/fs/cgroup/{name}" for name in ("", "memory", "cpu", "cpuacct", "cpuset")] + ["/sys/devices/system/cpu"]
report("change its limits", {attempt(change, path) for path in limits for change in
       (lambda p: write_to(p, b"1"), lambda p: os.unlink(p), lambda p: os.rename(p, p + mark), lambda p: os.chown(p, os.getuid(), os.getgid()))})
report("make them writable", {attempt(os.chmod, path, 0o777) for path in limits + groups})
report("write them after that", {attempt(write_to, path, b"1") for path in limits})
report("make a group of them", {attempt(make, f"{group}/{mark}") for group in groups for make in (os.mkdir, os.mkfifo, lambda p: os.symlink("/", p))})
report("join a group", {attempt(write_to, f"{group}/{name}", b"1") for group in groups[1:5] for name in ("tasks", "cgroup.procs")})
report("remount them", in_one_child([lambda path=path, flag=flag: call(165, b"", path.encode(), b"", flag, b"") for path in groups + shown for flag in (0x20, 0x20 | 0x1000)]))
report("unmount them", in_one_child([lambda path=path: call(166, path.encode(), 2) for path in groups + shown]))
report("mount on them", in_one_child([lambda path=path: call(165, b"/etc/passwd", path.encode(), b"", 0x1000, b"") for path in groups + shown]))
# Affinity is only a hint: a command may use all processors of its kernel, and gets no more processor time.
report("widen its affinity", attempt(os.sched_setaffinity, 0, range(1024)))
report("mount them elsewhere", in_one_child([lambda kind=kind: call(165, b"none", b"/tmp", b"cgroup", 0, kind) for kind in (b"memory", b"cpu", b"cpuset", b"pids")]))
memory = dict(line.split(":") for line in open("/proc/meminfo").read().splitlines())
report("memory after that", memory["MemTotal"].strip())
# For truncate(2), gVisor checks the capability and not the mount or the owner. The files of cgroups do not change.
report("empty its limits", {attempt(os.truncate, path, 0) for path in limits})
report("limits after that", [open(limits[0]).read().strip(), open(limits[2]).read().strip()])
report("cgroups that are there", [name for name in (os.listdir("/sys/fs/cgroup") if os.path.isdir("/sys/fs/cgroup") else [])])

# -- the network

for name, family, kind, protocol in (("raw", 2, 3, 255), ("raw icmp", 2, 3, 1), ("raw of IPv6", 10, 3, 58), ("packet", 17, 3, 768), ("cooked packet", 17, 2, 768), ("vsock", 40, 1, 0), ("alg", 38, 5, 0),
                                     ("bluetooth", 31, 3, 1), ("xdp", 44, 3, 0), ("netfilter netlink", 16, 3, 12), ("audit netlink", 16, 3, 9), ("uevent netlink", 16, 3, 15)):
    report(f"socket {name}", attempt(lambda: socket.socket(family, kind, protocol).close()))


def change_by_netlink(kind, body):
    """Sends a message to rtnetlink and returns the error in its reply."""
    with socket.socket(16, 3, 0) as netlink:
        netlink.settimeout(5)
        netlink.send(struct.pack("IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
        answer = netlink.recv(4096)
    code = -struct.unpack_from("i", answer, 16)[0] if struct.unpack_from("H", answer, 4)[0] == 2 else 0
    return errno.errorcode.get(code, str(code)) if code else "ok"


def address():
    return struct.pack("BBBBI", 2, 8, 0, 0, 1) + struct.pack("HH4s", 8, 2, bytes([10, 1, 1, 1])) + struct.pack("HH4s", 8, 1, bytes([10, 1, 1, 1]))


def link(kind):
    data = kind.encode() + b"\0" * (-len(kind) % 4)
    return struct.pack("BBHiII", 0, 0, 0, 0, 0, 0) + struct.pack("HHHH", 8 + len(data), 18, 4 + len(data), 1) + data


for name, kind, body in (("add an address", 20, address()), ("add a link", 16, link("dummy")), ("take a link up", 16, struct.pack("BBHiII", 0, 0, 0, 1, 0, 1)),
                         ("delete a link", 17, struct.pack("BBHiII", 0, 0, 0, 1, 0, 0)),
                         ("add a route", 24, struct.pack("BBBBBBBBI", 2, 8, 0, 0, 254, 3, 0, 1, 0) + struct.pack("HH4s", 8, 1, bytes([10, 0, 0, 0])) + struct.pack("HHI", 8, 4, 1)),
                         ("add a neighbour", 28, struct.pack("BBHiHBB", 2, 0, 0, 1, 2, 0, 0) + struct.pack("HH4s", 8, 1, bytes([10, 0, 0, 1])))):
    try:
        report(name, change_by_netlink(kind, body))
    except OSError as fault:
        report(name, errno.errorcode.get(fault.errno, "timeout"))
with socket.socket() as probe:
    report("bind to a device", attempt(lambda: probe.setsockopt(1, 25, b"lo")))
    report("mark packets", attempt(lambda: probe.setsockopt(1, 36, 7)))
    report("bind to addresses of others", attempt(lambda: probe.setsockopt(0, 19, 1)))
    report("iptables", attempt(lambda: probe.getsockopt(0, 64, 84)))

# -- changes that later runs would see: writes succeed only inside this sandbox

for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/passwd"):
    report(f"write {path}", attempt(write_to, path, f"# {mark}\n".encode(), os.O_APPEND))
report("replace /etc/hosts", attempt(lambda: os.rename("/etc/hosts", "/etc/hosts." + mark)))
for path in (f"/usr/bin/{mark}", f"/var/lib/{mark}", f"/dev/shm/{mark}", f"/tmp/{mark}", f"/output/{mark}"):
    report(f"make {path}", attempt(os.open, path, os.O_WRONLY | os.O_CREAT))
report("overwrite a program", attempt(write_to, "/usr/bin/env", b"escaped"))
report("change a program", {attempt(os.chmod, "/usr/bin/env", 0o6755), attempt(os.chown, "/usr/bin/env", 1, 1)})
report("name a program anew", attempt(os.link, "/usr/bin/env", f"/usr/bin/{mark}-link"))
report("mark a program", attempt(os.setxattr, "/usr/bin/env", "trusted.overlay.opaque", b"y"))
os.open(f"/dev/shm/{canary}-of-run", os.O_CREAT)
libc.shmget(int(facts["tag"], 16), 4096, 0o1666)

# This attempt is the last, because it kills everything that it reaches. PID 1 still reports the result.
report("end", "reached")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
libc.kill(-1, 15)
