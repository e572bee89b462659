"""The service s2: it answers every request with the datacenter that it runs in."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATACENTER, IP, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Answer(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer it."""
        body = f"s2 in {DATACENTER}\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((IP, PORT), Answer).serve_forever()
