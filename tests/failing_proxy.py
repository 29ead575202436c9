"""A proxy in front of an MLflow server that answers 500 when told to."""

import http.client
import threading
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Between the client and the server; answers 500 instead of the server, or after it did what was asked."""

    def __init__(self, port: int) -> None:
        self.num_failed = 0
        self._fails: str | None = None
        self._path = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fails = outer._fails if outer._path in self.path else None
                if fails != "request":
                    try:
                        status, content = self.hand_on(body)
                    except (OSError, http.client.HTTPException):
                        return  # the server is gone: the client has no answer either
                if fails:
                    outer.num_failed += 1
                    status, content = 500, b"broken"
                with suppress(OSError):  # a client that was killed
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def hand_on(self, body: bytes) -> tuple[int, bytes]:
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                onward.request(self.command, self.path, body, {**dict(self.headers), "Host": f"127.0.0.1:{port}"})
                answer = onward.getresponse()
                with closing(onward):
                    return answer.status, answer.read()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, what: str | None, path: str = "") -> None:
        """`request`: it is not handed on. `answer`: it is, and what came back is lost. None: all is well."""
        self._fails, self._path = what, path

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
