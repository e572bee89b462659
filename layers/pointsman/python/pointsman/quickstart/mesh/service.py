"""The service s2: it answers every request with its datacenter."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATACENTER, IP, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    """The handler of one request."""

    def do_GET(self) -> None:
        """Answer with the datacenter."""
        body = f"s2 in {DATACENTER}\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((IP, PORT), Handler).serve_forever()
