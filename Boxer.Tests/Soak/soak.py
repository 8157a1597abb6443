#!/usr/bin/env python3
"""Runs a real HTTP host under a random mix of requests, kills it now and then, and checks every response and the leftovers.

    soak.py MINUTES SEED WORK HOST_DLL REGISTRY_URL

WORK is a directory for homes and logs. soak.sh calls this script. The seed determines the requests of each client, but not how they interleave.
"""

import collections
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import traceback

minutes, seed, work, dll, registry = float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
image = "python:3.12-slim"
clients = 6
output_limit = 1 << 20
networks = ["none", "none", "sandbox"] if os.geteuid() == 0 else ["none"]

counts = collections.Counter()
faults = []
lock = threading.Lock()
over = threading.Event()
# This event is cleared while the host is down.
up = threading.Event()
# The number of kills: a request that began before a kill may be cut off.
kills = 0
# The sessions of the host that nobody has closed.
opened = set()


class Wrong(Exception):
    """A response that does not match its request."""


class Cut(Exception):
    """A connection that ended early."""


class Busy(Exception):
    """A response with 429."""


def fault(text):
    with lock:
        faults.append(text)
        print(f"soak: wrong: {text}", flush=True)


class Host:
    """The HTTP host as a process, on a port of loopback."""

    def __init__(self, name):
        self.log = open(f"{work}/{name}.log", "ab")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = f"{work}/{name}.json"
        settings = {
            # Each host has its own directory, because hosts cannot share a store of uploads.
            "home": f"{work}/home-{name}", "listen_addr": f"127.0.0.1:{self.port}", "registry_mirrors": {"docker.io": [registry]},
            "max_concurrent_runs": 4, "max_queued_runs": 3, "queue_timeout_secs": 20, "output_limit_bytes": output_limit, "stop_grace_secs": 5,
            "pool": {"max_sandboxes": 4, "images": {image: 1}},
        }
        with open(config, "w") as file:
            json.dump(settings, file)
        self.process = subprocess.Popen(["dotnet", dll, "--config", config], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        for _ in range(1200):
            try:
                if self.exchange("GET", "/healthz")[0] == 200:
                    self.instances = self.find_instances()
                    return
            except (Cut, OSError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise Wrong(f"the host did not start; see {self.log.name}")

    def exchange(self, method, path, body=None, headers=None, timeout=300):
        """Returns status, headers and body of one exchange on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except TimeoutError:
            raise Wrong(f"{method} {path} had no response within {timeout} s") from None
        except (http.client.HTTPException, ConnectionError) as broken:
            raise Cut(repr(broken)) from None
        finally:
            connection.close()

    def find_instances(self):
        """Returns the host's instances: the names of the locks that it holds in /run/boxer."""
        found = set()
        for name in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{self.process.pid}/fd/{name}")
            except OSError:
                continue
            if match := re.fullmatch(r"/run/boxer/([0-9a-f]{8})\.lock", target):
                found.add(match[1])
        return found

    def figures(self):
        """Returns the number of open descriptors and the memory in MiB."""
        resident = re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())
        return len(os.listdir(f"/proc/{self.process.pid}/fd")), int(resident[1]) >> 10

    def stop(self):
        self.instances |= self.find_instances()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        if code != 0:
            raise Wrong(f"the host ended with {code}")

    def kill(self):
        self.instances |= self.find_instances()
        self.process.kill()
        self.process.wait()


def left_of(instances):
    """Returns everything on this machine that names one of these instances."""
    texts = [f"/run/boxer/{name}" for name in (os.listdir("/run/boxer") if os.path.isdir("/run/boxer") else [])]
    texts += [f"link {name}" for name in os.listdir("/sys/class/net")]
    texts += [f"netns {name}" for name in (os.listdir("/run/netns") if os.path.isdir("/run/netns") else [])]
    texts += [f"mount {line.split()[1]}" for line in open("/proc/self/mounts")]
    texts += [f"cgroup {top}" for top, _, _ in os.walk("/sys/fs/cgroup")]
    texts += [f"table {line}" for line in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines()]
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                texts.append(f"process {name} " + open(f"/proc/{name}/cmdline").read().replace("\0", " ")[:200])
            except OSError:
                pass
    return [text for text in texts if any(instance in text for instance in instances)]


def instances():
    """Returns the instances of this machine, live and dead."""
    return {name[:-5] for name in (os.listdir("/run/boxer") if os.path.isdir("/run/boxer") else []) if name.endswith(".lock")}


def directories():
    """Returns the files in the homes except images: kept files and temporary ones."""
    found = []
    for home in ("home-host", "home-beside"):
        for part in ("files", "tmp"):
            for top, _, files in os.walk(f"{work}/{home}/{part}"):
                found += [os.path.join(top, name) for name in files if name != "lock"]
    return found


# -- clients: each checks its response and returns its result

def token_of(rng):
    return f"{rng.getrandbits(64):016x}"


def run(host, body, expected=(200,)):
    """Returns a response of POST /run with one of these statuses; None if the host rejected the run with 429."""
    body.setdefault("image", image)
    status, headers, text = host.exchange("POST", "/run", json.dumps(body), {"Content-Type": "application/json"})
    try:
        answer = json.loads(text)
    except ValueError:
        raise Wrong(f"status {status} with {text[:200]!r}") from None
    if status == 429:
        if "Retry-After" not in headers:
            raise Wrong("429 without Retry-After")
        return None
    if status not in expected:
        raise Wrong(f"{json.dumps(body)[:300]} was answered with {status}: {text[:600]!r}")
    return answer


def same(what, expected, actual):
    if expected != actual:
        raise Wrong(f"{what}: {actual!r:.600} instead of {expected!r:.300}")


def good(host, rng):
    token, code, user = token_of(rng), rng.randrange(256), rng.choice(["0", "65534", "1234:99"])
    script = 'read given; echo "$TOKEN $given"; echo "$0" >&2; exit "$1"'
    answer = run(host, {"cmd": ["sh", "-c", script, token, str(code)], "env": ["TOKEN=" + token], "stdin": token + "\n", "user": user, "network": rng.choice(networks)})
    if answer is None:
        return "429"
    same("a good run", (f"{token} {token}\n", token + "\n", code, "exited"), (answer["stdout"], answer["stderr"], answer["exit_code"], answer["termination"]))
    return "ok"


def python(host, rng):
    token = token_of(rng)
    answer = run(host, {"cmd": ["python3", "-c", f"import os; print('{token}', os.listdir('/tmp'), os.listdir('/dev/shm')); open('/tmp/left', 'w'); open('/dev/shm/left', 'w')"], "network": rng.choice(networks)})
    if answer is None:
        return "429"
    same("a Python run", (f"{token} [] []\n", "", 0), (answer["stdout"], answer["stderr"], answer["exit_code"]))
    return "ok"


def signalled(host, rng):
    number = rng.choice([1, 2, 3, 6, 9, 11, 15])
    answer = run(host, {"cmd": ["sh", "-c", f"kill -{number} $$; sleep 5"]})
    if answer is None:
        return "429"
    same("a signal", (128 + number, "signaled", number), (answer["exit_code"], answer["termination"], answer.get("signal")))
    return "signals"


def late(host, rng):
    token = token_of(rng)
    trap = rng.choice(["", "trap '' TERM INT HUP;", "kill -STOP $$;"])
    answer = run(host, {"cmd": ["sh", "-c", f"echo {token}; {trap} sleep 100 & wait; sleep 100"], "limits": {"wall_clock_secs": 2}, "network": rng.choice(networks)}, (408,))
    if answer is None:
        return "429"
    # On a busy machine a program may print nothing in two seconds. Any output must be its own.
    if answer["stdout"] not in ("", token + "\n"):
        raise Wrong(f"a run that was too long printed {answer['stdout']!r}")
    same("a run that was too long", "wall_clock_limit", answer["termination"])
    return "timeouts"


def balloon(host, rng):
    answer = run(host, {"cmd": ["sh", "-c", "python3 -c 'x = b\"x\" * (400 << 20)'; exit 0"], "limits": {"memory_mb": 64, "wall_clock_secs": 100}})
    if answer is None:
        return "429"
    same("a balloon", (137, "memory_limit"), (answer["exit_code"], answer["termination"]))
    return "memory"


def bomb(host, rng):
    token = token_of(rng)
    answer = run(host, {"cmd": ["sh", "-c", f"echo {token}; b() {{ b | b & }}; b; sleep 1; b; sleep 100"], "limits": {"pids_limit": 24, "wall_clock_secs": 3}}, (200, 408))
    if answer is None:
        return "429"
    if answer["stdout"] not in ("", token + "\n"):
        raise Wrong(f"a fork bomb printed {answer['stdout']!r}")
    return "bombs"


def flood(host, rng):
    token, stream = token_of(rng), rng.choice(["", " >&2"])
    answer = run(host, {"cmd": ["sh", "-c", f"yes {token}{stream}"]}, (507,))
    if answer is None:
        return "429"
    kept = answer["stderr" if stream else "stdout"]
    same("a flood", ((token + "\n") * output_limit)[:output_limit], kept)
    return "floods"


def missing(host, rng):
    answer = run(host, {"cmd": ["no-such-" + token_of(rng)]}, (400,))
    if answer is None:
        return "429"
    same("a missing program", "not_started", answer["termination"])
    return "missing"


def upload(host, path, content):
    boundary = "soak-boundary"
    body = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode() + content
            + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="path"\r\n\r\n{path}\r\n--{boundary}--\r\n'.encode())
    return host.exchange("POST", "/files", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def files(host, rng):
    token, content = token_of(rng), rng.randbytes(rng.choice([0, 1, 1000, 300_000]))
    path = f"soak/{token}.bin"
    status, _, text = upload(host, path, content)
    same("an upload", (200, path), (status, json.loads(text).get("path")))
    answer = None
    try:
        answer = run(host, {"cmd": ["sh", "-c", f"mkdir /output/d; cat /soak/{token}.bin > /output/d/copy; ls /soak"], "files": [path], "persist": True, "network": rng.choice(networks)})
        if answer is None:
            return "429"
        same("a run with files", (f"{token}.bin\n", 0, ["d/copy"]), (answer["stdout"], answer["exit_code"], [output["path"].split("/", 2)[2] for output in answer["outputs"]]))
        status, _, copy = host.exchange("GET", "/files?path=" + answer["outputs"][0]["path"])
        same("an output", (200, content), (status, copy))
        return "files"
    finally:
        for name in [path] + ([f"output/{answer['exec_id']}"] if answer else []):
            status, _, text = host.exchange("DELETE", "/files?path=" + name)
            if status not in (200, 204):
                raise Wrong(f"DELETE {name} was answered with {status}: {text[:300]!r}")


def request_of(path, body):
    text = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


def vanish(host, rng):
    """Disconnects at any moment: during its request, in the queue, during the boot or the run."""
    request = request_of(rng.choice(["/run", "/run/stream"]), {"image": image, "cmd": ["sleep", "100"], "limits": {"wall_clock_secs": 200}, "network": rng.choice(networks)})
    with socket.create_connection(("127.0.0.1", host.port), 30) as connection:
        connection.sendall(request[:rng.choice([10, 200, len(request), len(request), len(request)])])
        time.sleep(rng.random() ** 2 * 3)
        if rng.random() < 0.5:
            # Closes the connection with a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return "vanished"


def slow(host, rng):
    """Reads a stream in small pieces with pauses, and checks that it is complete."""
    token, lines = token_of(rng), 12_000
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=300)
    try:
        connection.request("POST", "/run/stream", json.dumps({"image": image, "cmd": ["sh", "-c", f"yes {token} | head -n {lines}"]}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status == 429:
            return "429"
        text = b""
        pauses = 20
        while piece := response.read1(8192):
            text += piece
            if pauses:
                pauses -= 1
                time.sleep(0.1)
    except (http.client.HTTPException, ConnectionError) as broken:
        raise Cut(repr(broken)) from None
    finally:
        connection.close()
    events = [(event.split("\n")[0].removeprefix("event: "), json.loads(event.split("data: ", 1)[1])) for event in text.decode().split("\n\n") if event]
    if not events or events[-1][0] != "end":
        raise Cut("a stream without an end")
    same("a stream's end", (200, 0), (events[-1][1].get("status"), events[-1][1].get("exit_code")))
    same("a stream's result", (token + "\n") * lines, events[-1][1]["stdout"])
    same("a stream's events", (token + "\n") * lines, "".join(data["text"] for name, data in events if name == "stdout"))
    return "slow"


bad_bodies = [
    b"", b"{", b"[]", b"null", b'{"image": "python:3.12-slim"}', b'{"image": "python:3.12-slim", "cmd": []}', b'{"cmd": ["true"]}', b'\xff\xfe{"',
    json.dumps({"image": image, "cmd": ["true"], "limits": {"memory_mb": -1}}).encode(), json.dumps({"image": image, "cmd": ["true"], "network": "all"}).encode(),
    json.dumps({"image": image, "cmd": ["true"], "files": ["../../etc/passwd"]}).encode(), json.dumps({"image": image, "cmd": ["true"], "files": ["never/uploaded"]}).encode(),
    json.dumps({"image": image, "cmd": ["true"], "user": "nobody-knows"}).encode(), json.dumps({"image": "Not An Image", "cmd": ["true"]}).encode(),
    json.dumps({"image": image, "cmd": ["a\0b"]}).encode(), json.dumps({"image": image, "cmd": ["true"], "cwd": "relative"}).encode(), b"[" * 100_000,
]


def bad(host, rng):
    body = rng.choice(bad_bodies)
    status, _, text = host.exchange("POST", "/run", body, {"Content-Type": "application/json"})
    if status == 429:
        return "429"
    if status != 400 or "error" not in json.loads(text):
        raise Wrong(f"{body[:200]!r} was answered with {status}: {text[:300]!r}")
    return "bad"


def unknown(host, rng):
    answer = run(host, {"image": f"soak/{token_of(rng)}", "cmd": ["true"]}, (404,))
    return "429" if answer is None else "bad"


# -- clients of sessions

class Session:
    """A session with a file, whose calls are checked."""

    def __init__(self, host, rng):
        self.host, self.token, self.content, self.processes, self.is_paused = host, token_of(rng), rng.randbytes(rng.choice([0, 1000, 300_000])), 0, False
        body = {"image": image, "network": rng.choice(networks), "workspace": {}, "limits": {"memory_mb": 64}, "env": {"TOKEN": self.token}}
        self.id = json.loads(self.call("POST", "/sessions", body, (201,)))["id"]
        self.path = "/sessions/" + self.id
        with lock:
            opened.add(self.id)

    def call(self, method, path, body=None, expected=(200,)):
        """Returns the body of a response with one of these statuses."""
        status, headers, text = self.host.exchange(method, path, body if isinstance(body, bytes | None) else json.dumps(body), {"Content-Type": "application/json"})
        if status == 429:
            if "Retry-After" not in headers:
                raise Wrong("429 without Retry-After")
            raise Busy
        if status not in expected:
            raise Wrong(f"{method} {path} was answered with {status}: {text[:600]!r}")
        return text

    def execute(self, rng, query=""):
        code = rng.randrange(256)
        answer = json.loads(self.call("POST", f"{self.path}/exec{query}", {"cmd": ["sh", "-c", 'echo $TOKEN; wc -c <kept >&2; exit "$0"', str(code)]}))
        same("an exec", (self.token + "\n", f"{len(self.content)}\n", code), (answer["stdout"], answer["stderr"], answer["exit_code"]))

    def start(self, rng):
        self.processes += 1
        pid = json.loads(self.call("POST", self.path + "/processes", {"cmd": ["sh", "-c", "echo $TOKEN; exit 7"]}, (201,)))["pid"]
        events = self.call("GET", f"{self.path}/processes/{pid}/events").decode()
        if f'"text":"{self.token}\\n"' not in events or '"exit_code":7' not in events:
            raise Wrong(f"a process had the events {events!r:.600}")

    def serve(self, rng):
        self.processes += 1
        self.call("POST", self.path + "/processes", {"cmd": ["sleep", "1000"]}, (201,))
        same("the processes", self.processes, len(json.loads(self.call("GET", self.path + "/processes"))))

    def write(self):
        self.call("PUT", self.path + "/files?path=kept", self.content)

    def read(self, rng):
        same("a file of a session", self.content, self.call("GET", self.path + "/files?path=kept"))

    def archive(self, rng):
        with tarfile.open(fileobj=io.BytesIO(self.call("GET", self.path + "/files/tar"))) as tar:
            same("an archive of a session", self.content, tar.extractfile("kept").read())

    def pause(self, rng):
        self.call("POST", self.path + "/pause")
        same("a call while paused", "paused", json.loads(self.call("POST", self.path + "/exec", {"cmd": ["true"]}, (409,)))["state"])
        self.is_paused = rng.random() < 0.3
        if not self.is_paused:
            self.execute(rng, "?resume=true")

    def vanish(self, rng):
        with socket.create_connection(("127.0.0.1", self.host.port), 30) as connection:
            connection.sendall(request_of(self.path + "/exec/stream", {"cmd": ["sleep", "1000"]}))
            time.sleep(rng.random() ** 2)

    def close(self, busily):
        """Closes the session, perhaps while a command runs."""
        with lock:
            opened.discard(self.id)
        connection = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=300)
        try:
            if busily:
                connection.request("POST", self.path + "/exec/stream?resume=true", json.dumps({"cmd": ["sh", "-c", "echo up; sleep 1000"]}), {"Content-Type": "application/json"})
                response = connection.getresponse()
                while response.status == 200 and (line := response.readline()) and b"up" not in line:
                    pass
            same("a close", "closed", json.loads(self.call("DELETE", self.path))["ended"])
            if busily and response.status == 200 and b'"ended":"closed"' not in (rest := response.read()):
                raise Wrong(f"a command of a closed session ended with {rest!r:.600}")
        except (http.client.HTTPException, ConnectionError) as broken:
            raise Cut(repr(broken)) from None
        finally:
            connection.close()
        same("a call after the close", "closed", json.loads(self.call("GET", self.path, None, (410,)))["ended"])


def session(host, rng):
    """Opens a session, uses it, and closes or forgets it."""
    box = None
    try:
        box = Session(host, rng)
        box.write()
        for _ in range(rng.randrange(1, 6)):
            # A paused session is closed as it is.
            if not box.is_paused:
                rng.choice([box.execute, box.execute, box.start, box.serve, box.read, box.archive, box.pause, box.vanish])(rng)
        if not box.is_paused and rng.random() < 0.25:
            # It ends by its idle timeout.
            box.call("PATCH", box.path, {"idle_timeout_secs": 1})
            return "forgotten"
    except Busy:
        if box is not None:
            box.close(False)
        return "429"
    box.close(rng.random() < 0.5)
    return "sessions"


def check_lost(host, lost):
    """Checks that a host knows how the sessions of a killed one ended."""
    for name in lost:
        status, _, text = host.exchange("GET", "/sessions/" + name)
        if status != 410 or json.loads(text)["ended"] not in ("host_stopped", "idle_timeout"):
            fault(f"a session of a killed host is answered with {status}: {text[:300]!r}")


mix = [(good, 30), (python, 14), (signalled, 5), (late, 4), (balloon, 3), (bomb, 3), (flood, 3), (missing, 5), (files, 8), (vanish, 10), (slow, 4), (bad, 8), (unknown, 3), (session, 16)]


def one(host, function, rng):
    """Runs one client of the mix. A client that a kill cut off may have no response."""
    began = kills
    try:
        outcome = function(host, rng)
    except (Cut, OSError) as broken:
        if kills == began and up.is_set():
            fault(f"{function.__name__}: {broken!r}")
            return
        outcome = "cut"
    except Wrong as wrong:
        fault(f"{function.__name__}: {wrong}")
        return
    except Exception:
        fault(f"{function.__name__}: {traceback.format_exc()}")
        return
    with lock:
        counts[outcome] += 1


def client(number):
    rng = random.Random(f"{seed}-{number}")
    while not over.is_set():
        if not up.wait(1):
            continue
        function = rng.choices([function for function, _ in mix], [weight for _, weight in mix])[0]
        one(current, function, random.Random(rng.getrandbits(64)))
        time.sleep(rng.random() ** 4)


def second_instance(rng):
    """Starts a second host beside the live one, runs a command, stops it, and checks that nothing is left."""
    beside = Host("beside")
    one(beside, good, rng)
    beside.stop()
    counts["beside"] += 1
    if left := left_of(beside.instances):
        fault(f"an instance that stopped left {left}")


def wait_for(condition, seconds):
    for _ in range(seconds * 10):
        if condition():
            return True
        time.sleep(0.1)
    return False


forwards = open("/proc/sys/net/ipv4/ip_forward").read()
others = instances()
current = Host("host")
ours = set(current.instances)
try:
    # Pulls the image and shows the open descriptors of an idle host.
    one(current, python, random.Random(seed))
    up.set()
    for number in range(20):
        one(current, good, random.Random(number))
    first = current.figures()
    began = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    chaos = random.Random(f"{seed}-chaos")
    while (now := time.monotonic() - began) < minutes * 60:
        time.sleep(min(chaos.uniform(8, 30), max(minutes * 60 - now, 0.1)))
        if time.monotonic() - began >= minutes * 60:
            break
        try:
            if chaos.random() < 0.5:
                up.clear()
                kills += 1
                current.kill()
                with lock:
                    lost = set(opened)
                    opened.clear()
                killed = current.instances
                current = Host("host")
                ours |= killed | current.instances
                counts["kills"] += 1
                # Does not wait for the background work of the next start.
                if not wait_for(lambda: not left_of(killed), 30):
                    fault(f"after kill -9 and a start there is still {left_of(killed)}")
                check_lost(current, lost)
                up.set()
            else:
                second_instance(chaos)
        except Wrong as wrong:
            fault(str(wrong))
            break
    over.set()
    for thread in threads:
        thread.join()
    if not wait_for(lambda: current.exchange("GET", "/sessions")[2] == b"[]", 60):
        fault("forgotten sessions are still open: " + current.exchange("GET", "/sessions")[2].decode())
    if not kills:
        for number in range(20):
            one(current, good, random.Random(number))
        last = current.figures()
        print(f"soak: the host had {first[0]} descriptors and {first[1]} MiB, and has {last[0]} and {last[1]} MiB", flush=True)
        if last[0] > first[0] + 100:
            fault(f"the host had {first[0]} descriptors open and has {last[0]}")
    if counts["kills"]:
        # Clients that were cut off after an upload did not delete its files, and a host keeps uploads.
        for name in ("soak", "output"):
            status, _, text = current.exchange("DELETE", "/files?path=" + name)
            if status not in (200, 204, 404):
                fault(f"DELETE {name} was answered with {status}: {text[:300]!r}")
    current.stop()
except Wrong as wrong:
    fault(str(wrong))
finally:
    over.set()
    if current.process.poll() is None:
        current.kill()
    ours |= current.instances

left = left_of(ours) + directories()
# Another runner on this machine may need forwarding.
if not others and not instances() - ours and open("/proc/sys/net/ipv4/ip_forward").read() != forwards:
    left.append("ip_forward")
for text in left:
    print(f"soak: left: {text}", flush=True)
runs = sum(counts.values()) - counts["kills"] - counts["beside"] + len(faults)
figures = ", ".join(f"{name}={counts[name]}" for name in sorted(counts, key=lambda name: (name != "ok", name)))
print(f"soak: {runs} runs in {minutes:g} min, seed {seed}: {figures}, wrong={len(faults)}, left={len(left)}")
sys.exit(1 if faults or left or not counts["ok"] else 0)
