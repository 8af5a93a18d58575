"""A link that logs a browser in to the Ray dashboard: a door on a port of its own, which opens once.

Whoever shows Ray's token in a cookie is let in, and cookies are of a host, whatever the port: the door hands it out and
leads on. Its address cannot be guessed, and the token stands in none.
"""

import secrets
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from configs.settings import Settings

COOKIE = "ray-authentication-token"  # source: Ray's `authentication_constants`
OPEN_S = 120.0  # source: own choice


class Door(HTTPServer):
    """Waits for the one visit."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.timeout, self.is_waiting = OPEN_S, True
        self.path, self.visited = f"/{secrets.token_urlsafe(32)}", False
        self.token = settings.ray_auth_token.get_secret_value()
        self.target = f"http://127.0.0.1:{settings.dashboard_port}/"

    @property
    def url(self) -> str:
        """The link; it opens once."""
        return f"http://127.0.0.1:{self.server_port}{self.path}"

    def wait(self) -> bool:
        """Serve until the link was opened; tell whether it was, before nobody came for a while."""
        while self.is_waiting and not self.visited:
            self.handle_request()
        return self.visited

    def handle_timeout(self) -> None:
        """Wait no longer."""
        self.is_waiting = False


class _Visit(BaseHTTPRequestHandler):
    server: Door
    timeout = 5.0  # of a visitor who says nothing, while whoever has the link waits; source: own choice

    def do_GET(self) -> None:
        if not secrets.compare_digest(self.path.encode(), self.server.path.encode()):
            self.send_error(404)
            return
        self.send_response(303)
        self.send_header("Location", self.server.target)
        self.send_header("Set-Cookie", f"{COOKIE}={self.server.token}; Path=/; HttpOnly; SameSite=Strict")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.server.visited = True

    def log_message(self, *_: Any) -> None:
        """Say nothing: the link is a secret."""
