"""Small candidates of the standard library: what a served commit may turn out to be."""

from __future__ import annotations

# Ready after a while, then 200; /env, /burn, /spawn and /log act on request.
GOOD = """
import http.server, json, os, subprocess, sys, threading, time
ready_at = time.monotonic() + 0.2
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code, answer = 200, {}
        if self.path == "/health":
            code = 200 if time.monotonic() > ready_at else 503
            answer = {"status": "ready", "commit": os.environ["VIBESERVE_COMMIT"], "counters": {"steps": 0}}
        elif self.path == "/env":
            answer = dict(os.environ)
        elif self.path == "/burn":
            threading.Thread(target=burn, daemon=True).start()
        elif self.path == "/spawn":
            subprocess.Popen(["sleep", "60"], start_new_session=True)
        elif self.path == "/peers":
            answer = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
def burn():
    while True:
        pass
print("starting", flush=True)
address = os.environ["HOST"], int(os.environ["PORT"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""

EXITS = "print('about to fail', flush=True)\nraise SystemExit(3)"
NOT_LISTENING = "import time\ntime.sleep(60)"
SILENT = """
import os, socket, time
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
held = []
while True:
    held.append(server.accept())
"""
ANSWERS = """
import os, socket
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.0 {status} said\\r\\n\\r\\n" + {body!r})
    client.close()
"""
DRIPPING = """
import os, socket, time
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
client, _ = server.accept()
client.sendall(b"HTTP/1.0 200 said\\r\\n\\r\\n{")
while True:
    client.sendall(b" ")
    time.sleep(0.2)
"""
CONTINUING = (
    DRIPPING.replace("1.0 200 said", "1.1 100 go on")
    .replace(r"\r\n\r\n{", r"\r\n\r\n")
    .replace('b" "', r'b"HTTP/1.1 100 go on\r\n\r\n"')
)
GREEDY = "held = bytearray(300 << 20)\nimport time\ntime.sleep(60)"

# A client box: GET one path, print status and body.
GET = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10)
connection.request("GET", sys.argv[3])
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
