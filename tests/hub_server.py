"""The Hub's HTTP protocol on the loopback, uploads by plain LFS (HF_HUB_DISABLE_XET=1); everything lies in memory."""

import base64
import hashlib
import json
import re
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import Fault, reset
from hub_repositories import Repository, blob_id, entry, is_large, paths_info, tree

API = r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|auth-check)/([^/]+)/?(.*))?"
RESOLVE = r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)"
REFUSED_TOKEN = "Invalid credentials in Authorization header"


class HubServer(AbstractContextManager):
    """
    Repositories by `models/owner/name` or `datasets/owner/name`.

    `tokens` are the known ones with their roles, "read" or "write"; without them every token may write. All are
    `user`'s. `faults` meet requests in their order.
    """

    def __init__(self, *faults: Fault, user: str = "somebody", tokens: dict[str, str] | None = None):
        self.faults, self.user, self.tokens = list(faults), user, tokens
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.used_tokens: set[tuple[str, str | None]] = set()  # by "hub" and "storage"
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.storage = f"http://localhost:{self._http.server_address[1]}/objects"  # another host, as the Hub's is

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._http.shutdown()
        self._http.server_close()

    def model(self, name: str) -> Repository:
        return self.repositories[f"models/{name}"]

    def add_dataset(self, name: str, files: dict[str, bytes], **options: Any) -> Repository:
        repository = self.repositories[f"datasets/{name}"] = Repository(history=[files], **options)
        return repository

    def create(self, body: dict) -> dict:
        name = f"{body.get('organization') or self.user}/{body['name']}"
        private = body.get("visibility") == "private"
        self.repositories.setdefault(f"{body.get('type') or 'model'}s/{name}", Repository(private=private))
        return {"url": f"{self.url}/{name}", "id": name, "name": name}

    def preupload(self, repository: Repository, body: dict) -> dict:
        files = repository.files
        return {
            "files": [
                {
                    "path": path,
                    "uploadMode": "lfs" if is_large(path) else "regular",
                    "shouldIgnore": False,
                    "oid": blob_id(path, files[path]) if path in files else None,
                }
                for path in (file["path"] for file in body["files"])
            ]
        }

    def batch(self, body: dict) -> dict:
        answers = []
        for wanted in body["objects"]:
            actions = {"actions": {"upload": {"href": f"{self.storage}/{wanted['oid']}"}}}
            answers.append(wanted | (actions if wanted["oid"] not in self.objects else {}))
        return {"transfer": "basic", "objects": answers}

    def commit(self, name: str, repository: Repository, lines: list[dict]) -> dict:
        files = dict(repository.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        repository.history.append(files)
        oid, _ = repository.find("main")
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{name}/commit/{oid}", "hookOutput": ""}


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two packets, of which the second would wait 40 ms
    cut = False

    def do_POST(self) -> None:
        fault = self.meet()
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length // 2 if fault and fault.cut else length)
        if self.failed(fault) or not self.may_write():
            return
        path = urlsplit(self.path).path
        lfs = re.fullmatch(r"/(datasets/)?(.+/.+)\.git/info/lfs/objects/batch", path)
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit|paths-info)/(.+)", path)
        if path == "/api/repos/create":
            self.answer(self.hub.create(json.loads(body)))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif lfs:
            self.answer(self.hub.batch(json.loads(body)))
        elif api and (repository := self.repository(f"{api[1]}/{api[2]}")):
            if api[3] == "preupload":
                self.answer(self.hub.preupload(repository, json.loads(body)))
            elif api[3] == "commit":
                assert api[4] == "main"
                self.answer(self.hub.commit(api[2], repository, [json.loads(line) for line in body.splitlines()]))
            elif found := self.find(repository, unquote(api[4])):
                self.answer(paths_info(found[1], parse_qs(body.decode())["paths"]))

    def do_PUT(self) -> None:
        fault = self.meet()
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length // 2 if fault and fault.cut else length)
        oid = self.path.rsplit("/", 1)[-1]
        if not self.failed(fault):
            assert hashlib.sha256(content).hexdigest() == oid
            self.hub.objects[oid] = content
            self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        fault = self.meet()
        self.cut = bool(fault and fault.cut)
        if not self.cut and self.failed(fault):
            return
        url = urlsplit(self.path)
        api, raw = re.fullmatch(API, url.path), re.fullmatch(RESOLVE, url.path)
        if url.path == "/api/whoami-v2":
            self.whoami()
        elif url.path.startswith("/objects/"):
            self.send_file(self.hub.objects[url.path.rsplit("/", 1)[-1]], {})
        elif url.hostname and url.hostname.startswith("datasets-server."):
            self.viewer(parse_qs(url.query)["dataset"][0])
        elif raw and (repository := self.repository(f"{'datasets' if raw[1] else 'models'}/{raw[2]}", content=True)):
            if found := self.find(repository, unquote(raw[3])):
                self.resolve(*found, unquote(raw[4]))
        elif api and api[3] == "auth-check":
            if self.may_write() and self.repository(f"{api[1]}/{api[2]}"):
                self.answer({})
        elif api and (repository := self.repository(f"{api[1]}/{api[2]}")):
            found = self.find(repository, unquote(api[4] or "main"))
            if found and api[3] == "tree":
                entries = tree(found[1], unquote(api[5]), recursive="recursive=true" in url.query.lower())
                self.answer(entries) if entries is not None else self.refuse(404, "EntryNotFound", "no such folder")
            elif found:
                self.answer(repository.info(api[2], *found))
        elif not api and not raw:
            self.refuse(404, "", f"the loopback Hub does not know {self.path}")

    # Answers --------------------------------------------------------------------------------------------------------

    def resolve(self, commit: str, files: dict[str, bytes], path: str) -> None:
        """A small file itself; a large one, as the Hub does, by the address of its object."""
        if path not in files:
            self.refuse(404, "EntryNotFound", f"no {path}")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob_id(path, files[path])}"'}
        if not is_large(path):
            self.send_file(files[path], headers)
            return
        oid = entry(path, files[path])["lfs"]["oid"]
        self.hub.objects[oid] = files[path]
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(files[path]))}
        self.answer({}, 302, headers | {"Location": f"{self.hub.storage}/{oid}"})

    def send_file(self, content: bytes, headers: dict[str, str]) -> None:
        """All of it, or the range that was asked for."""
        status, total = 200, len(content)
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(asked[1]), min(int(asked[2] or total - 1), total - 1)
            if start >= total:
                self.refuse(416, "", "the range starts behind the end")
                return
            status, content = 206, content[start : end + 1]
            headers = headers | {"Content-Range": f"bytes {start}-{end}/{total}"}
        self.send(status, headers | {"Accept-Ranges": "bytes"}, content)

    def send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        """The answer; half of it where the connection is cut."""
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.cut else content)
        if self.cut:
            self.reset()

    def viewer(self, name: str) -> None:
        """The dataset viewer's server, which knows datasets only once it has read them; reached by HTTP_PROXY."""
        repository = self.hub.repositories[f"datasets/{name}"]
        if repository.viewer is None:
            self.refuse(404, "ResponseNotFound", "not read yet")
            return
        answer = {"dataset_info": repository.viewer, "pending": [], "failed": [], "partial": False}
        self.answer(answer, headers={"X-Revision": repository.find("main")[0]})

    def answer(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(status, {"Content-Type": "application/json"} | (headers or {}), json.dumps(body).encode())

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer({"error": message}, status, headers)

    # Who asks -------------------------------------------------------------------------------------------------------

    def role(self) -> str | None:
        """What the request's token may do; None without one; "refused" of one that is not known."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        return "write" if self.hub.tokens is None else self.hub.tokens.get(token, "refused")

    def whoami(self) -> None:
        role = self.role()
        if role in (None, "refused"):
            self.refuse(401, "", REFUSED_TOKEN)
            return
        token = {"accessToken": {"displayName": "test", "role": role}}
        self.answer({"name": self.hub.user, "type": "user", "orgs": [], "auth": {"type": "access_token", **token}})

    def may_write(self) -> bool:
        """Answers itself where not. Everybody may have a card checked and ask for the state of paths."""
        role, path = self.role(), self.path
        if role == "refused" or (role is None and not re.search(r"validate-yaml|paths-info", path)):
            self.refuse(401, "", REFUSED_TOKEN)
            return False
        if role == "read" and not re.search(r"validate-yaml|paths-info", path):
            self.refuse(403, "", "You don't have the rights to write into this repository")
            return False
        return True

    def repository(self, key: str, *, content: bool = False) -> Repository | None:
        """What a request may see; of a gated one, without a token, not the `content`. Answers itself where not."""
        role, repository = self.role(), self.hub.repositories.get(key)
        if role == "refused":
            self.refuse(401, "", REFUSED_TOKEN)
        elif repository is None or (repository.private and role is None):
            self.refuse(401 if role is None else 404, "RepoNotFound", "Repository not found")
        elif content and repository.gated and role != "write":
            self.refuse(401 if role is None else 403, "GatedRepo", f"Access to {key} is restricted")
        else:
            return repository
        return None

    def find(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = repository.find(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    # Faults ---------------------------------------------------------------------------------------------------------

    def meet(self) -> Fault | None:
        self.hub.requests.append(f"{self.command} {self.path}")
        host = "storage" if self.path.startswith("/objects/") else "hub"
        self.hub.used_tokens.add((host, self.headers.get("Authorization")))
        return next((fault for fault in self.hub.faults if fault.meets(f"{self.command} {self.path}")), None)

    def failed(self, fault: Fault | None) -> bool:
        if fault is None:
            return False
        threading.Event().wait(fault.delay_s)  # not time.sleep, which the tests replace
        if fault.cut or fault.delay_s:
            self.reset()
        elif fault.status:
            if fault.status >= 500:  # what stands before the Hub answers in its own way
                self.send(fault.status, fault.headers | {"Content-Type": "text/html"}, b"<h1>sorry</h1>")
            else:
                errors = {"error": "refused by the test", "errors": [{"message": "refused by the test"}]}
                self.answer(errors, fault.status, fault.headers)
        return True

    def reset(self) -> None:
        self.close_connection = True
        self.rfile.close()
        reset(self.connection)

    def log_message(self, *args) -> None:
        """The test run's output is for the tests."""
