"""The Hub's half of an upload, on the loopback: repositories, LFS objects and commits, kept in memory."""

import base64
import hashlib
import json
import re
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HubServer(AbstractContextManager):
    """Speaks what a push without Xet needs. `refuse`: path pattern -> HTTP status; every token is `user`'s."""

    def __init__(self, refuse: dict[str, int] | None = None, user: str = "somebody"):
        self.refuse, self.user = refuse or {}, user
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.tokens: set[str | None] = set()
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._http.shutdown()
        self._http.server_close()

    def create(self, body: dict) -> dict:
        name = f"{body.get('organization') or self.user}/{body['name']}"
        self.private.setdefault(name, body.get("visibility") == "private")
        self.repositories.setdefault(name, {})
        return {"url": f"{self.url}/{name}", "id": name, "name": name}

    def preupload(self, body: dict) -> dict:
        """Weights and pictures go by LFS, text in the commit."""
        large = (".safetensors", ".png", ".bin", ".0", ".pt")
        modes = {file["path"]: "lfs" if file["path"].endswith(large) else "regular" for file in body["files"]}
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}

    def batch(self, body: dict) -> dict:
        answers = []
        for wanted in body["objects"]:
            actions = {"actions": {"upload": {"href": f"{self.url}/objects/{wanted['oid']}"}}}
            answers.append(wanted | (actions if wanted["oid"] not in self.objects else {}))
        return {"transfer": "basic", "objects": answers}

    def commit(self, name: str, lines: list[dict]) -> dict:
        files = self.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        oid = hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{name}/commit/{oid}", "hookOutput": ""}


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        commit = re.fullmatch(r"/api/models/(.+)/commit/main", self.path)
        if self.refused():
            return
        if commit:
            self.answer(self.hub.commit(commit[1], [json.loads(line) for line in body.splitlines()]))
        elif self.path == "/api/repos/create":
            self.answer(self.hub.create(json.loads(body)))
        elif self.path.endswith("/preupload/main"):
            self.answer(self.hub.preupload(json.loads(body)))
        elif self.path.endswith("/info/lfs/objects/batch"):
            self.answer(self.hub.batch(json.loads(body)))
        else:
            self.answer({"errors": [], "warnings": []})  # validate-yaml

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rsplit("/", 1)[-1]
        if not self.refused():
            assert hashlib.sha256(content).hexdigest() == oid
            self.hub.objects[oid] = content
            self.answer({})

    def do_GET(self) -> None:
        known = {f"/api/models/{name}": {"id": name, "siblings": []} for name in self.hub.repositories}
        known["/api/whoami-v2"] = {"name": self.hub.user, "type": "user", "orgs": []}
        if not self.refused():
            self.answer(known.get(self.path, {"error": "not found"}), 200 if self.path in known else 404)

    def refused(self) -> bool:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        status = next((code for pattern, code in self.hub.refuse.items() if re.search(pattern, self.path)), None)
        if status:
            self.answer({"error": "refused by the test"}, status)
        return bool(status)

    def answer(self, body: dict, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args) -> None:
        """The test run's output is for the tests."""
