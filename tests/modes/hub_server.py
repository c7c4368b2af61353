"""A model hub on this machine: as much of one as its own client needs to make a repository and send a commit."""

from __future__ import annotations

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HubServer(ThreadingHTTPServer):
    """Keeps what it is sent; `refuse` maps the start of a path to a status with which it is answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, bool] = {}
        """By name, whether they are private."""
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuse: dict[str, int] = {}
        self.hang = False
        self.sha256: str | None = None
        """Of the weights, as it says once they are there."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if self.server.hang:
            self.rfile.read(1)
        status, content = self._found(path, body)
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(data)

    def _found(self, path: str, body: bytes) -> tuple[int, Any]:
        server = self.server
        for start, status in server.refuse.items():
            if path.startswith(start):
                return status, {"error": "no", "errors": [{"message": "odd metadata"}]}
        name = next(iter(re.findall(r"^/api/models/([^/]+/[^/]+)", path)), "")
        if path == "/api/whoami-v2":
            signed_in = self.headers.get("Authorization") == "Bearer hf_tokenfortests"
            return 200 if signed_in else 401, {"name": "ann", "type": "user"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": [{"message": "a remark"}]}
        if path == "/api/repos/create":
            asked = json.loads(body)
            private = asked.get("private", asked.get("visibility") == "private")
            server.repositories[f"{asked.get('organization') or 'ann'}/{asked['name']}"] = bool(private)
            return 200, {"url": f"{server.address}/{asked.get('organization') or 'ann'}/{asked['name']}"}
        if path.endswith("/preupload/main"):
            files = [{**one, "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]
            return 200, {"files": files}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{server.address}/{name}/commit/{'a' * 40}", "commitOid": "a" * 40}
        if "/paths-info/" in path:
            data = server.files["model.safetensors"]
            one = {"type": "file", "path": "model.safetensors", "size": len(data), "oid": "b" * 40}
            if server.sha256 is not None:
                one["lfs"] = {"oid": server.sha256, "size": len(data), "pointerSize": 100}
            return 200, [one]
        if name in server.repositories and path == f"/api/models/{name}":
            return 200, {"id": name, "private": server.repositories[name], "siblings": [], "tags": []}
        return 404, {"error": "Repository not found"}

    def log_message(self, format: str, *args: Any) -> None:
        pass
