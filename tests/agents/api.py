"""A scripted stand-in of a model's API: the script, the log of requests and the HTTP server."""
import gzip
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Seconds after which a held answer is given all the same.
HOLD = 120
#: Seconds in which a program must have recorded a prompt.
RECORDED = 5


def say(text):
    return ("say", text)


def think(text):
    return ("think", text)


def shell(command):
    """A call of the program's own tool that runs a command."""
    return ("shell", command)


def call(tool, **arguments):
    """A call of a tool that only one program has."""
    return ("call", {"name": tool, "input": arguments})


@dataclass
class Answer:
    """Answers one request whose last message of the user, or last result of a tool, contains `to`."""

    to: str
    blocks: list
    #: The answer begins when this is set.
    hold: threading.Event | None = None
    used: bool = False


@dataclass
class Request:
    """The conversation as the program sent it: (role, text), with calls and results of tools as texts."""

    messages: list
    body: dict = field(repr=False)

    @property
    def text(self):
        return "\n".join(text for _, text in self.messages)


class Script:
    """The answers that are still to be given, and the requests for them."""

    def __init__(self, is_recorded):
        self.is_recorded = is_recorded
        self.lock = threading.Condition()
        self.answers = []
        self.requests = []
        self.next_id = 0

    def add(self, to, *blocks, hold=None):
        with self.lock:
            self.answers.append(Answer(to, list(blocks), hold))

    def wait(self, count):
        """Waits until `count` requests were made."""
        with self.lock:
            if not self.lock.wait_for(lambda: len(self.requests) >= count, HOLD):
                raise AssertionError(f"{len(self.requests)} requests instead of {count}")

    def number(self):
        """A number for ids. The programs' recordings must not use one id for two things."""
        with self.lock:
            self.next_id += 1
            return self.next_id

    def take(self, request):
        """Logs a request and returns its answer."""
        last = next((text for role, text in reversed(request.messages) if role in ("user", "tool")), "")
        with self.lock:
            self.requests.append(request)
            self.lock.notify_all()
            answer = next((a for a in self.answers if not a.used and a.to in last), None)
            if not answer:
                return Answer("", [say("The script has no answer.")])
            answer.used = True
        # Claude Code records a prompt up to 100 ms after its request. An answer in that time, faster than of any
        # real API, may be recorded before the prompt.
        end = time.monotonic() + RECORDED
        while not self.is_recorded(answer.to) and time.monotonic() < end:
            time.sleep(0.02)
        if answer.hold:
            answer.hold.wait(HOLD)
        return answer


class Handler(BaseHTTPRequestHandler):
    """One connection. A subclass knows the API; `script` is set by `serve`."""

    protocol_version = "HTTP/1.1"
    script = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.send_json({})

    def do_GET(self):
        self.send_json({"data": [], "has_more": False})

    def do_POST(self):
        try:
            self.post(self.path.split("?")[0], self.read_json())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # A killed program.

    def read_json(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        return json.loads(data or b"{}")

    def send_json(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def begin_events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def send_event(self, kind, **data):
        data = json.dumps(dict(type=kind, **data))
        self.wfile.write(f"event: {kind}\ndata: {data}\n\n".encode())
        self.wfile.flush()


def serve(handler, is_recorded):
    """Starts a server on loopback; returns it and its script. `is_recorded` looks for a text in the recordings."""
    script = Script(is_recorded)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Scripted", (handler,), {"script": script}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, script
