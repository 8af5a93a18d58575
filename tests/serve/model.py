"""A server that speaks OpenAI's chat completions and misbehaves as told, for tests of what stands before it."""

import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Literal

SENTENCE = re.compile(r"[A-Z][^.\n]{20,}\.")
PATIENCE_S = 60


class Model(ThreadingHTTPServer):
    """Quotes the first sentence of its first passage, then goes on talking, or dies.

    Attributes:
        left: Set once a reader has gone before the end.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.manner: Literal["slow", "dies"] = "slow"
        self.left = Event()
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def close(self) -> None:
        """Stop answering."""
        self.shutdown()
        self.server_close()


class _Talk(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sentence = SENTENCE.search(asked["messages"][-1]["content"].partition("\n")[2])
        assert sentence
        self.send_response(200)
        self.end_headers()
        self._say(f"{sentence[0].rstrip('.')} [1]. The ")
        if self.server.manner == "dies":
            return
        end = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < end:
                time.sleep(0.1)
                self._say("pump ")
        except OSError:
            self.server.left.set()

    def _say(self, text: str) -> None:
        chunk = json.dumps({"choices": [{"delta": {"content": text}}]})
        self.wfile.write(f"data: {chunk}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""
