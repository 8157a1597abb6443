# The servers of TestInternet, as one process in its namespace: HTTP with a package index on all addresses, DNS with a few names,
# and datagrams. Prints "ready" when all listen.
import base64, collections, functools, glob, hashlib, http.server, io, os, socket, socketserver, struct, sys, threading, time, zipfile
NAMES = {"web.example.test": "198.51.100.10", "other.example.test": "198.51.100.11", "rebind.example.test": "10.99.0.7",
    "deep.sub.example.test": "198.51.100.10", "pypi.org": "198.51.100.10", "files.pythonhosted.org": "198.51.100.10",
    "example.com": "198.51.100.10", "www.example.com": "198.51.100.11", "example.org": "198.51.100.11"}
DATAGRAMS = collections.Counter()
NAMES6 = {"web.example.test": "2001:db8:51::10", "rebind.example.test": "fd00:ec2::254"}
ASKED = collections.Counter()
# Dependencies that Debian's packages omit from their metadata.
UNSAID = {"httpcore": ["h11", "sniffio", "anyio", "certifi"], "anyio": ["idna", "sniffio"]}
DIST = "/usr/lib/python3/dist-packages"

@functools.lru_cache(maxsize=None)
def wheel(name):
    """Builds a wheel (PEP 427) of an installed Debian package: its metadata of either kind, and a RECORD of its files."""
    [info] = glob.glob(f"{DIST}/{name}-*info")
    version = os.path.basename(info)[len(name) + 1:].split("-py")[0].rsplit(".", 1)[0]
    files = {os.path.relpath(os.path.join(at, file), DIST): open(os.path.join(at, file), "rb").read()
        for at, _, found in os.walk(f"{DIST}/{name}") if "__pycache__" not in at for file in found}
    if info.endswith(".egg-info"):
        metadata = open(info + "/PKG-INFO", encoding="utf-8").read().split("\n\n")[0].rstrip("\n")
        requires = open(info + "/requires.txt").read().split("\n[")[0].split() if os.path.exists(info + "/requires.txt") else []
        requires += UNSAID.get(name, [])
        metadata += "".join(f"\nRequires-Dist: {one}" for one in requires) + "\n"
    else:
        metadata = open(info + "/METADATA", encoding="utf-8").read()
    if name == "rfc3986":
        metadata = metadata.replace("\nRequires-Dist: idna", "").split("\n\n")[0].rstrip("\n") + "\nProvides-Extra: idna2008\nRequires-Dist: idna; extra == 'idna2008'\n"
    dist = f"{name}-{version}.dist-info"
    files[dist + "/METADATA"] = metadata.encode()
    files[dist + "/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    files[dist + "/RECORD"] = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files.items()).encode() + f"{dist}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items(): archive.writestr(path, data)
    return f"{name}-{version}-py3-none-any.whl", packed.getvalue()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body, kind = ("hello from " + self.connection.getsockname()[0].removeprefix("::ffff:") + " to " + self.client_address[0].removeprefix("::ffff:") + "\n").encode(), "text/plain"
        if self.path.startswith("/big"):
            body = b"x" * int(self.path[4:])
        elif self.path == "/datagrams":
            body = str(sum(DATAGRAMS.values())).encode()
        elif self.path == "/asked":
            body = str(sum(ASKED.values())).encode()
        elif self.path.startswith("/simple/"):
            name = self.path.split("/")[2]
            file, data = wheel(name)
            body, kind = f"<html><body><a href='/packages/{file}#sha256={hashlib.sha256(data).hexdigest()}'>{file}</a></body></html>".encode(), "text/html"
        elif self.path.startswith("/packages/"):
            body, kind = wheel(self.path.split("/")[2].split("-")[0])[1], "application/octet-stream"
        self.send_response(200); self.send_header("Content-Type", kind); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        while left: left -= len(self.rfile.read(min(left, 65536)))
        self.send_response(204); self.end_headers()
    def log_message(self, *args): pass
def dns(sock):
    while True:
        data, peer = sock.recvfrom(4096)
        labels, i = [], 12
        while data[i]:
            labels.append(data[i + 1:i + 1 + data[i]].decode()); i += data[i] + 1
        name, kind = ".".join(labels).lower(), struct.unpack("!H", data[i + 1:i + 3])[0]
        ASKED[name] += 1
        address = "198.51.100.10" if name.endswith(".many.example.test") and not name.startswith("none") else NAMES.get(name)
        if name.endswith(".each.example.test"): address = "203.0.113." + name.split(".")[0]
        record = lambda address: b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 3600 if name.startswith("hour.") else 5, 4) + socket.inet_aton(address)
        answer = record(address) if address and kind == 1 else b""
        count = 1 if answer else 0
        if answer and name.startswith("wide."): count, answer = 60, b"".join(record(f"203.0.113.{i}") for i in range(60))
        if name in NAMES6 and kind == 28:
            count, answer = 1, b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 5, 16) + socket.inet_pton(socket.AF_INET6, NAMES6[name])
        code = 0x8180 if address else 0x8183
        sock.sendto(data[:2] + struct.pack("!HHHHH", code, 1, count, 0, 0) + data[12:i + 5] + answer, peer)
def datagrams(sock):
    def send(peer):
        for number in range(100):
            sock.sendto(b"datagram", peer); time.sleep(0.05)
    while True:
        _, peer = sock.recvfrom(4096)
        DATAGRAMS[peer] += 1
        if DATAGRAMS[peer] == 1: threading.Thread(target=send, args=(peer,), daemon=True).start()
def serve(handler, address, port):
    udp = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM); udp.bind((address, port))
    threading.Thread(target=handler, args=(udp,), daemon=True).start()
serve(dns, "198.51.100.53", 53); serve(dns, "10.99.0.7", 53); serve(datagrams, "198.51.100.10", 9000)
IPV6 = "ipv6" in sys.argv
if IPV6: serve(datagrams, "2001:db8:51::10", 9000)
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer): daemon_threads = True; request_queue_size = 128; address_family = socket.AF_INET6 if IPV6 else socket.AF_INET
servers = [Server(("::" if IPV6 else "0.0.0.0", port), Handler) for port in (80, 8080, 853)]
for server in servers[1:]: threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
servers[0].serve_forever()
