"""A Hugging Face Hub on 127.0.0.1 with the functions that huggingface_hub uses. It misbehaves on demand.

It has repositories with commits, branches and tags, both ways of uploading (without Xet), and Spaces that build.
Paths, payloads and headers follow the source of huggingface_hub 2.4.0; the oldest allowed version, 1.16.4, works too.
"""

import asyncio
import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from helpers import serving

TOKEN = "hf_0123456789abcdefghijklmnopqrstuvwx"
READ_ONLY = "hf_readonlyabcdefghijklmnopqrstuvwxyz"
STRANGER = "hf_strangerabcdefghijklmnopqrstuvwxyz"
USERS = {TOKEN: ("alice", "write"), READ_ONLY: ("alice", "read"), STRANGER: ("mallory", "write")}
LICENSES = ("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "other")
NEW_SPACE = b"""---
title: Page
emoji: \xf0\x9f\x90\xa2
colorFrom: red
colorTo: blue
sdk: gradio
sdk_version: 6.31.0
app_file: app.py
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""
"""The README.md of a new Space without files."""


@dataclass
class Blob:
    data: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """Returns the hash that preupload and ETag use: SHA-256 for a large file, git's hash for others."""
        return hashlib.sha256(self.data).hexdigest() if self.lfs else git_hash(self.data)

    def entry(self, path: str) -> dict[str, Any]:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {len(self.data)}\n".encode()
        entry = {"type": "file", "path": path, "size": len(self.data), "oid": self.oid}
        if self.lfs:
            entry |= {
                "oid": git_hash(pointer),
                "lfs": {"oid": self.oid, "size": len(self.data), "pointerSize": len(pointer)},
            }
        return entry


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    private: bool = False
    trees: dict[str, dict[str, Blob]] = field(default_factory=dict)
    """files of each commit"""
    messages: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    hardware: str = "cpu-basic"
    stages: list[dict[str, Any]] = field(default_factory=list)
    """for a Space: the states that it reports one after the other; the last one stays"""
    logs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add({".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit", "main")

    def add(self, tree: dict[str, Blob], message: str, branch: str) -> str:
        commit = hashlib.sha1(f"{message} {len(self.trees)} {sorted(tree)}".encode()).hexdigest()
        self.trees[commit], self.messages[commit], self.branches[branch] = tree, message, commit
        return commit

    def put(self, files: dict[str, bytes], branch: str = "main", lfs: bool = True) -> str:
        """Makes another user's commit, which adds files and keeps the others."""
        blobs = {path: Blob(data, lfs and path.endswith(".safetensors")) for path, data in files.items()}
        return self.add({**self.trees[self.branches["main"]], **blobs}, "by hand", branch)

    def resolve(self, revision: str) -> str | None:
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        return commit if commit in self.trees else None

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: blob.data for path, blob in self.trees[self.resolve(revision) or ""].items()}


@dataclass
class Fault:
    """A fault in requests that match "METHOD /path": a false answer, or damage to the true one."""

    match: str
    status: int = 0
    times: int = 1_000_000
    headers: dict[str, str] = field(default_factory=dict)
    does: str = "answer"
    """answer (with `status`), cut, truncate, corrupt, slow"""
    seconds: float = 0.0
    hits: int = 0


class FakeHub:
    def __init__(self) -> None:
        self.models: dict[str, Repo] = {}
        self.spaces: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.large_files = True
        """whether .safetensors are uploaded as large files; otherwise all files are in the commit itself"""
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, bytes]] = []
        """"METHOD /path?query" and body of every request"""
        self.url = ""

    def fail(self, match: str, status: int = 0, **options: Any) -> Fault:
        self.faults.append(Fault(match, status, **options))
        return self.faults[-1]

    def count(self) -> Counter[str]:
        """Counts the requests by their last word: "commit", "tag", ..."""
        words = ("whoami", "create", "preupload", "batch", "commit", "tag", "branch", "resolve", "paths-info")
        return Counter(w for request, _ in self.requests for w in words if re.search(rf"[/-]{w}\b", request))

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        with serving(Misbehaving(self)) as self.url:
            yield self


class Cut(Exception):
    """Raised after a part of an answer, to make the server close the connection."""


class Misbehaving:
    """ASGI middleware that records requests and applies the faults."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub, self.app = hub, build_app(hub)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = f"{scope['method']} {scope['path']}"
        self.hub.requests.append((f"{asked}?{scope['query_string'].decode()}", body))
        given = [{"type": "http.request", "body": body}]

        async def again() -> dict[str, Any]:
            return given.pop() if given else await receive()

        fault = next((f for f in self.hub.faults if f.hits < f.times and re.search(f.match, asked)), None)
        if fault is None:
            return await self.app(scope, again, send)
        fault.hits += 1
        if fault.does == "slow":
            await asyncio.sleep(fault.seconds)
            return await self.app(scope, again, send)
        if fault.does == "answer":
            return await JSONResponse({"error": "made to fail"}, fault.status, fault.headers)(scope, again, send)
        if fault.does == "cut":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            raise Cut
        await self.app(scope, again, damaging(fault.does, send))


def damaging(how: str, send: Any) -> Any:
    async def damaged(message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not body:
            return await send(message)
        if how == "truncate":
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            raise Cut
        middle = len(body) // 2
        await send({**message, "body": body[:middle] + bytes([body[middle] ^ 255]) + body[middle + 1 :]})

    return damaged


def refuse(status: int, message: str, code: str = "") -> JSONResponse:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return JSONResponse({"error": message}, status, headers)


def user_of(request: Request) -> tuple[str, str] | None:
    return USERS.get(request.headers.get("authorization", "").removeprefix("Bearer "))


def metadata_errors(card: str, kind: str) -> list[str]:
    """Returns the Hub's errors in a card's metadata, in the Hub's own words as far as they are known."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return [str(error)]
    errors = []
    licenses = data.get("license", "mit")
    if any(one not in LICENSES for one in (licenses if isinstance(licenses, list) else [licenses])):
        errors.append(f'"license" must be one of [{", ".join(LICENSES)}], or an array of some of them')
    for number, name in enumerate(data.get("datasets", [])):
        if not re.fullmatch(r"([A-Za-z0-9_.-]+/)?[A-Za-z0-9_.-]+", name):
            errors.append(f'"datasets[{number}]" with value "{name}" is not valid')
    for entry in data.get("model-index", []):
        if not entry.get("name"):
            errors.append('"model-index[0].name" is not allowed to be empty')
        for result in entry["results"]:
            if not result["task"]["type"] or not all(math.isfinite(one["value"]) for one in result["metrics"]):
                errors.append('"model-index[0].results" is not whole')
    if kind == "space" and data.get("sdk") not in ("gradio", "docker", "static"):
        errors.append('"sdk" must be one of [gradio, docker, static]')
    return errors


def build_app(hub: FakeHub) -> FastAPI:
    app = FastAPI()

    def repos(kind: str) -> dict[str, Repo]:
        return {"models": hub.models, "spaces": hub.spaces}[kind]

    def read(kind: str, name: str, request: Request) -> Repo | JSONResponse:
        repo, user = repos(kind).get(name), user_of(request)
        if "authorization" in request.headers and user is None:
            return refuse(401, "Invalid credentials in Authorization header")
        if repo is None or (repo.private and (user is None or user[0] != name.split("/")[0])):
            return refuse(404 if user else 401, "Repository not found", "RepoNotFound")
        return repo

    def write(kind: str, name: str, request: Request) -> Repo | JSONResponse:
        repo = read(kind, name, request)
        if isinstance(repo, Repo) and user_of(request) != (name.split("/")[0], "write"):
            return refuse(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo

    @app.get("/api/whoami-v2")
    def whoami(request: Request) -> Any:
        user = user_of(request)
        if user is None:
            return refuse(401, "Invalid credentials in Authorization header")
        return {"name": user[0], "type": "user", "orgs": [], "auth": {"accessToken": {"role": user[1]}}}

    @app.post("/api/repos/create")
    async def create(request: Request) -> Any:
        body, user = await request.json(), user_of(request)
        name = f"{body['organization'] or user[0]}/{body['name']}" if user else ""
        kind = "spaces" if body.get("type") == "space" else "models"
        if user is None:
            return refuse(401, "Invalid credentials in Authorization header")
        if user != (name.split("/")[0], "write"):
            return refuse(403, f"You don't have the rights to create a model under the namespace {name}")
        url = f"{hub.url}/{'spaces/' if kind == 'spaces' else ''}{name}"
        if name in repos(kind):  # the client reads the address from this refusal, too
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        repo = repos(kind)[name] = Repo(private=body.get("visibility") == "private" or body.get("private") is True)
        repo.hardware = body.get("hardware") or repo.hardware
        repo.variables = {one["key"]: one["value"] for one in body.get("variables", [])}
        repo.stages = [{"stage": "BUILDING"}, {"stage": "RUNNING"}]
        if kind == "spaces":
            repo.trees[repo.branches["main"]]["README.md"] = Blob(NEW_SPACE, False)
        return {"url": url, "name": name}

    @app.post("/api/validate-yaml")
    async def validate(request: Request) -> Any:
        body = await request.json()
        errors = metadata_errors(body["content"], body["repoType"])
        status = 400 if errors else 200
        if request.headers.get("accept") == "text/plain":
            return PlainTextResponse("\n".join(f"- Error: {error}" for error in errors), status)
        return JSONResponse({"errors": [{"message": error} for error in errors], "warnings": []}, status)

    @app.get("/api/{kind}/{user}/{name}")
    @app.get("/api/{kind}/{user}/{name}/revision/{revision:path}")
    def info(request: Request, kind: str, user: str, name: str, revision: str = "main") -> Any:
        repo = read(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        if not (commit := repo.resolve(revision)):
            return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        answer = {"_id": "0", "id": f"{user}/{name}", "sha": commit}
        if "expand" not in request.query_params:
            answer |= {"private": repo.private, "siblings": [{"rfilename": path} for path in repo.trees[commit]]}
        return answer

    @app.get("/api/{kind}/{user}/{name}/refs")
    def refs(request: Request, kind: str, user: str, name: str) -> Any:
        repo = read(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo

        def listed(names: dict[str, str], where: str) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{where}/{n}", "targetCommit": commit} for n, commit in names.items()]

        return {"branches": listed(repo.branches, "heads"), "converts": [], "tags": listed(repo.tags, "tags")}

    @app.get("/api/{kind}/{user}/{name}/tree/{revision:path}")
    def tree(request: Request, kind: str, user: str, name: str, revision: str) -> Any:
        repo = read(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        if not (commit := repo.resolve(revision)):
            return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return [blob.entry(path) for path, blob in repo.trees[commit].items()]

    @app.post("/api/{kind}/{user}/{name}/paths-info/{revision:path}")
    async def paths_info(request: Request, kind: str, user: str, name: str, revision: str) -> Any:
        repo = read(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        if not (commit := repo.resolve(revision)):
            return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        wanted = (await request.form()).getlist("paths")
        return [blob.entry(path) for path, blob in repo.trees[commit].items() if path in wanted]

    @app.post("/api/{kind}/{user}/{name}/preupload/{revision:path}")
    async def preupload(request: Request, kind: str, user: str, name: str, revision: str) -> Any:
        repo = write(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        there = repo.trees[repo.branches[revision]]
        answers = []
        for file in (await request.json())["files"]:
            large = hub.large_files and file["path"].endswith((".safetensors", ".png"))
            blob = there.get(file["path"])
            answers.append({
                "path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False,
                "oid": blob.oid if blob else None,
            })  # fmt: skip
        return {"files": answers}

    @app.post("/{user}/{name}.git/info/lfs/objects/batch")
    @app.post("/spaces/{user}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request, user: str, name: str) -> Any:
        kind = "spaces" if request.url.path.startswith("/spaces/") else "models"
        repo = write(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        objects = []
        for one in (await request.json())["objects"]:
            if one["oid"] not in hub.lfs:
                href = {"href": f"{hub.url}/lfs-upload/{one['oid']}"}
                one["actions"] = {"upload": href, "verify": {"href": f"{hub.url}/lfs-verify"}}
            objects.append(one)
        return {"transfer": "basic", "objects": objects}

    @app.put("/lfs-upload/{oid}")
    async def upload(request: Request, oid: str) -> Any:
        data = await request.body()
        if hashlib.sha256(data).hexdigest() != oid:
            return refuse(400, "checksum mismatch")
        hub.lfs[oid] = data
        return Response()

    @app.post("/lfs-verify")
    async def verify(request: Request) -> Any:
        one = await request.json()
        return {} if len(hub.lfs.get(one["oid"], b"")) == one["size"] else refuse(404, "object not found")

    @app.post("/api/{kind}/{user}/{name}/commit/{revision:path}")
    async def commit(request: Request, kind: str, user: str, name: str, revision: str) -> Any:
        repo = write(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit", repo.branches[revision]) != repo.branches[revision]:
            return refuse(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.trees[repo.branches[revision]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in hub.lfs:
                    return refuse(400, f"LFS object {value['oid']} was not uploaded")
                tree[value["path"]] = Blob(hub.lfs[value["oid"]], True)
            elif line["key"] == "deletedFile":
                if value["path"] not in tree:
                    return refuse(404, "A file with this name doesn't exist", "EntryNotFound")
                del tree[value["path"]]
        oid = repo.add(tree, header["summary"], revision)
        return {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{user}/{name}/commit/{oid}"}

    @app.post("/api/{kind}/{user}/{name}/tag/{revision:path}")
    async def tag(request: Request, kind: str, user: str, name: str, revision: str) -> Any:
        repo, new = write(kind, f"{user}/{name}", request), (await request.json())["tag"]
        if not isinstance(repo, Repo):
            return repo
        if new in repo.tags:
            return refuse(409, "Tag reference exists already")
        if not (target := repo.resolve(revision)):
            return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        repo.tags[new] = target
        return {}

    @app.delete("/api/{kind}/{user}/{name}/tag/{old:path}")
    def delete_tag(request: Request, kind: str, user: str, name: str, old: str) -> Any:
        repo = write(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        del repo.tags[old]
        return {}

    @app.post("/api/{kind}/{user}/{name}/branch/{branch:path}")
    async def make_branch(request: Request, kind: str, user: str, name: str, branch: str) -> Any:
        repo = write(kind, f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        if branch in repo.branches:
            return refuse(409, "Branch already exists")
        repo.branches[branch] = repo.resolve((await request.json()).get("startingPoint", "main")) or ""
        return {}

    @app.api_route("/{user}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    @app.api_route("/spaces/{user}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def resolve(request: Request, user: str, name: str, revision: str, path: str) -> Any:
        repo = read("spaces" if request.url.path.startswith("/spaces/") else "models", f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        if not (commit := repo.resolve(revision)):
            return refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if not (blob := repo.trees[commit].get(path)):
            answer = refuse(404, "Entry not found", "EntryNotFound")
            answer.headers["X-Repo-Commit"] = commit
            return answer
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"', "Content-Length": str(len(blob.data))}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.data))}
        start = int(m[1]) if (m := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))) else 0
        headers["Content-Length"] = str(len(blob.data) - start)
        data = blob.data[start:] if request.method == "GET" else b""
        return Response(data, 206 if start else 200, headers, "application/octet-stream")

    @app.get("/api/spaces/{user}/{name}/runtime")
    def runtime(request: Request, user: str, name: str) -> Any:
        repo = read("spaces", f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        stage = repo.stages.pop(0) if len(repo.stages) > 1 else repo.stages[0]
        return {"hardware": {"current": None, "requested": repo.hardware}, "sha": repo.branches["main"], **stage}

    @app.post("/api/spaces/{user}/{name}/hardware")
    async def change_hardware(request: Request, user: str, name: str) -> Any:
        repo = write("spaces", f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        repo.hardware = (await request.json())["flavor"]
        return {"stage": "BUILDING", "hardware": {"requested": repo.hardware}}

    @app.post("/api/spaces/{user}/{name}/variables")
    async def change_variable(request: Request, user: str, name: str) -> Any:
        repo, body = write("spaces", f"{user}/{name}", request), await request.json()
        if not isinstance(repo, Repo):
            return repo
        repo.variables[body["key"]] = body["value"]
        return {key: {"value": value} for key, value in repo.variables.items()}

    @app.get("/api/spaces/{user}/{name}/logs/{kind}")
    def logs(request: Request, user: str, name: str, kind: str) -> Any:
        repo = read("spaces", f"{user}/{name}", request)
        if not isinstance(repo, Repo):
            return repo
        events = (
            f"data: {json.dumps({'data': f'{kind}: {line}', 'timestamp': '2026-01-01T00:00:00.000Z'})}\n\n"
            for line in repo.logs
        )
        return StreamingResponse(events, media_type="text/event-stream")

    return app
