"""A small Hugging Face Hub on 127.0.0.1: the real clients push, pull and stream in tests, without a network.

    with LoopbackHub() as hub:
        point_clients_at(hub, monkeypatch, home=tmp_path)                   # in this process, or
        subprocess.run(command, env={**os.environ, **hub.environment(tmp_path)})
        hub.repository("model", "user/repo").files                          # what arrived
        hub.requests                                                        # how
        hub.fault = Fault("503", "model.safetensors", times=2)              # what goes wrong

Repositories live in memory, with commits, branches, tags and pull requests. Xet, the Hub's newest way of transferring
large files, is switched off on the client side: large files travel by Git LFS, or not specially at all.
"""

import base64
import hashlib
import json
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

HOST = "127.0.0.1"

# Any token is that of this user, but for the one that the Hub has revoked.
USER = "tester"
TOKEN = "hf_loopback"
REVOKED_TOKEN = "hf_revoked"
WRITE, READ = {"role": "write"}, {"role": "read"}

# Requests by what they do, for faults to choose among.
DOWNLOADS = r"^GET .*/resolve/"
UPLOADS = r"^PUT /lfs/|^POST .*/commit/"

# What the Hub's repositories keep by Git LFS whatever its size, as far as our files go.
LARGE_FILES = (".parquet", ".safetensors")

# Repository types as clients name them, by what their URLs say.
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


class LoggedRequest(NamedTuple):
    """One request: `path` is decoded and has no query; one meant for another host is logged with that host."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: one of
            "refuse": nothing listens at the hub's address any more. Ignores the other attributes;
            "hang": the request is read and never answered;
            "close": the connection is closed without an answer;
            "503", or any other status: that is the answer;
            "truncate": the second half of a downloaded file never comes, though its length is announced;
            "corrupt": a downloaded file has its size, and in its second half the wrong bytes;
            "endless": a downloaded file, of which no size is told as it comes, goes on and on.
        requests: regular expression searched for in "METHOD /path" of each request; others go well.
        first: the number, from 1, of the first matching request that goes wrong.
        times: how many go wrong from there on; None for all.
    """

    kind: str
    requests: str = ""
    first: int = 1
    times: int | None = None
    seen: int = field(default=0, init=False)

    def strikes(self, request: str) -> bool:
        """Whether this request is to go wrong; counts it."""
        if self.kind in ("truncate", "corrupt", "endless") and not re.search(DOWNLOADS, request):
            return False
        if not re.search(self.requests, request):
            return False
        self.seen += 1
        return self.seen >= self.first and (self.times is None or self.seen < self.first + self.times)


def break_upload(first: int = 1, times: int | None = 1, kind: str = "500") -> Fault:
    """The `first`-th of the uploads that follow, be it a large file or a commit, fails; and so do `times` in all."""
    return Fault(kind, UPLOADS, first, times)


@dataclass(frozen=True)
class StoredFile:
    """A file of a repository; of a large one, kept by Git LFS, Git itself has a pointer only."""

    content: bytes
    large: bool = False

    @cached_property
    def etag(self) -> str:
        """What clients tell contents apart by: SHA-256 of a large file, Git's hash of any other."""
        return hashlib.sha256(self.content).hexdigest() if self.large else _git_hash(self.content)

    def entry(self, path: str) -> dict:
        """As listings of a tree show it."""
        size = len(self.content)
        if not self.large:
            return {"type": "file", "path": path, "size": size, "oid": self.etag}
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.etag}\nsize {size}\n".encode()
        large_file = {"oid": self.etag, "size": size, "pointerSize": len(pointer)}
        return {"type": "file", "path": path, "size": size, "oid": _git_hash(pointer), "lfs": large_file}


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    date: str
    files: dict[str, StoredFile]
    parent: "Commit | None"


class Repository:
    """A model, data set or Space as it stands on the hub.

    Attributes:
        refs: Git's full names, such as refs/heads/main, to commits.
        private, sdk, variables: the last two of Spaces only.
    """

    def __init__(self, kind: str, id: str, private: bool = False, sdk: str | None = None):
        self.kind, self.id, self.private, self.sdk = kind, id, private, sdk
        self.variables: dict[str, dict] = {}
        self.refs: dict[str, Commit] = {}
        self._commits: dict[str, Commit] = {}
        self.commit("refs/heads/main", "initial commit", {}, parent=None)

    @property
    def files(self) -> dict[str, bytes]:
        """Paths and contents at the head of the branch main."""
        return {path: file.content for path, file in self.refs["refs/heads/main"].files.items()}

    @property
    def commits(self) -> list[Commit]:
        """The history of the branch main, newest first; the last one is empty."""
        commits = [self.refs["refs/heads/main"]]
        while commits[-1].parent is not None:
            commits.append(commits[-1].parent)
        return commits

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a full reference or a sha stands for."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.refs[name]
        return self._commits.get(revision)

    def commit(self, reference: str, message: str, files: dict[str, StoredFile], parent: Commit | None) -> Commit:
        """Put a commit with these files, all that there are, on top of a reference."""
        # The number tells commits apart that hold the same.
        identity = [len(self._commits), self.id, message, {path: file.etag for path, file in files.items()}]
        sha = hashlib.sha1(json.dumps(identity).encode()).hexdigest()
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.refs[reference] = self._commits[sha] = Commit(sha, message, date, files, parent)
        return self.refs[reference]


class LoopbackHub:
    """The server, up while the context lasts.

    Args:
        large_from: size in bytes from which any file goes by Git LFS. None for never, not even data and weights: the
            way to push with Xet switched on, but not enough for `datasets.Dataset.push_to_hub`.

    Attributes:
        requests: everything that was asked, as (method, path, authorization) in order of arrival.
        access: what every token may do, in the words of the real Hub's whoami.
    """

    def __init__(self, large_from: int | None = 1_000_000):
        self.large_from = large_from
        self.requests: list[LoggedRequest] = []
        self.access: dict = WRITE
        self._repositories: dict[tuple[str, str], Repository] = {}
        self._large_files: dict[str, bytes] = {}
        self._fault: Fault | None = None
        self._port = 0
        repository = "/api/{kind}/{user}/{name}"
        self._application = Starlette(
            routes=[
                Route("/api/whoami-v2", self._who_am_i),
                Route("/api/validate-yaml", self._validate_card, methods=["POST"]),
                Route("/api/repos/create", self._create, methods=["POST"]),
                Route(repository, self._info),
                Route(repository + "/revision/{revision}", self._info),
                Route(repository + "/refs", self._refs),
                Route(repository + "/tree/{revision}", self._tree),
                Route(repository + "/tree/{revision}/{path:path}", self._tree),
                Route(repository + "/paths-info/{revision}", self._paths, methods=["POST"]),
                Route(repository + "/preupload/{revision}", self._choose_uploads, methods=["POST"]),
                Route(repository + "/commit/{revision}", self._commit, methods=["POST"]),
                Route(repository + "/branch/{branch}", self._branch, methods=["POST"]),
                Route(repository + "/tag/{revision}", self._tag, methods=["POST"]),
                Route(repository + "/variables", self._variables, methods=["GET", "POST", "DELETE"]),
                Route("/{kind}/{user}/{name}.git/info/lfs/objects/batch", self._offer_uploads, methods=["POST"]),
                Route("/{user}/{name}.git/info/lfs/objects/batch", self._offer_uploads, methods=["POST"]),
                Route("/lfs/{oid}", self._upload, methods=["PUT"]),
                Route("/lfs/verify", self._verify_upload, methods=["POST"]),
                Route("/{kind}/{user}/{name}/resolve/{revision}/{path:path}", self._download),
                Route("/{user}/{name}/resolve/{revision}/{path:path}", self._download),
            ]
        )

    # What tests use.

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def fault(self) -> Fault | None:
        """What goes wrong from now on; None for nothing. May be set to a kind alone, such as "hang"."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | str | None) -> None:
        refused = self._fault is not None and self._fault.kind == "refuse"
        self._fault = Fault(fault) if isinstance(fault, str) else fault
        refuses = self._fault is not None and self._fault.kind == "refuse"
        if refuses and not refused:
            self._stop()
        if refused and not refuses:
            self._start()

    def reset(self) -> None:
        """Forget everything, as if just started."""
        self.fault = None
        self.sent_in_vain = 0  # Bytes after the end of files.
        self.requests.clear()
        self.access = WRITE
        self._repositories.clear()
        self._large_files.clear()

    def repository(self, kind: str, id: str) -> Repository:
        """The "model", "dataset" or "space" of this id, such as "user/repo"; KeyError if nobody made it."""
        return self._repositories[kind, id]

    def add_folder(self, kind: str, id: str, folder: Path) -> Repository:
        """Publish a copy of a folder, without a client; later pushes do not reach the folder itself."""
        files = {}
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                files[name] = StoredFile(content, self._is_large(name, len(content)))
        repository = self._repositories[kind, id] = Repository(kind, id)
        repository.commit("refs/heads/main", "Add folder", files, parent=repository.find("main"))
        return repository

    def add_dataset_folder(self, id: str, folder: Path) -> Repository:
        """Publish a folder of parquet files, and perhaps a README.md, as a data set."""
        return self.add_folder("dataset", id, folder)

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that make the clients of a new process use this hub and keep everything they cache under `home`.

        They also name the hub as proxy for any other host: what is meant for the internet ends here, with 404 and a
        line in `requests`.
        """
        proxies = {"http_proxy": self.url, "https_proxy": self.url, "no_proxy": f"{HOST},localhost"}
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(Path(home, "hub")),
            "HF_DATASETS_CACHE": str(Path(home, "datasets")),
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            **proxies,
            **{name.upper(): value for name, value in proxies.items()},
        }

    # The server, and what goes wrong before an endpoint is reached.

    def _start(self) -> None:
        # Port 0 is any free one; after "refuse" it is the same again.
        listener = socket.create_server((HOST, self._port))
        self._port = listener.getsockname()[1]
        options = {"interface": "asgi3", "http": "h11", "ws": "none", "lifespan": "off", "log_config": None}
        config = uvicorn.Config(self._answer, log_level=logging.ERROR, timeout_graceful_shutdown=1, **options)
        self._server = uvicorn.Server(config)
        # A daemon, so that a request that hangs cannot keep the process from exiting.
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def _stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        raw_path = scope["raw_path"].decode()
        method, path, authorization = request.method, unquote(raw_path), request.headers.get("authorization")
        self.requests.append(LoggedRequest(method, path, authorization))
        fault = self._fault if self._fault is not None and self._fault.strikes(f"{method} {path}") else None
        if fault is not None and fault.kind == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        answer = self._refusal(method, path, authorization)
        if fault is not None and fault.kind == "close":
            answer = CutShort(b"", headers={"Content-Length": "1"})
        elif fault is not None and fault.kind.isdigit():
            answer = PlainTextResponse("This is a test of what happens then.", int(fault.kind))
        if answer is not None:
            # A client that is answered while it still sends may or may not see the answer.
            await request.body()
            return await answer(scope, receive, send)
        # Endpoints decode for themselves: here, a branch name's %2F would turn into a slash like any other.
        scope.update(path=raw_path, fault=fault and fault.kind)
        await self._application(scope, receive, send)

    def _refusal(self, method: str, path: str, authorization: str | None) -> Response | None:
        if not path.startswith("/"):
            return PlainTextResponse("There is no internet here.", 404)
        if authorization == f"Bearer {REVOKED_TOKEN}":
            message = "Invalid credentials in Authorization header"
            return PlainTextResponse(message, 401, {"X-Error-Message": message})
        reads = method in ("GET", "HEAD") or "/paths-info/" in path or path == "/api/validate-yaml"
        # The address of a large file's upload is secret on the real Hub, and so needs no token.
        if authorization is None and not reads and not path.startswith("/lfs/"):
            return PlainTextResponse("Invalid username or password.", 401)
        if self.access["role"] == "read" and not reads:
            return PlainTextResponse("This token may only read.", 403)
        return None

    # The endpoints, in the order in which pushing, looking and pulling use them.

    async def _who_am_i(self, request: Request) -> Response:
        if "authorization" not in request.headers:
            raise HTTPException(401, "Invalid username or password.")
        orgs = [{"name": "readers", "roleInOrg": "read"}, {"name": "writers", "roleInOrg": "write"}]
        access = {"type": "access_token", "accessToken": {"displayName": "of tests", **self.access}}
        return JSONResponse({"type": "user", "name": USER, "orgs": orgs, "auth": access})

    async def _create(self, request: Request) -> Response:
        wanted = await request.json()
        kind, id = wanted.get("type") or "model", f"{wanted.get('organization') or USER}/{wanted['name']}"
        status = 409 if (kind, id) in self._repositories else 200
        if status == 200:
            private = wanted.get("visibility") == "private" or wanted.get("private") is True
            self._repositories[kind, id] = Repository(kind, id, private, wanted.get("sdk"))
        return JSONResponse({"url": self._page(self._repositories[kind, id]), "name": id, "id": id}, status)

    async def _variables(self, request: Request) -> Response:
        variables = self._find(request).variables
        if request.method == "POST":
            variable = await request.json()
            variables[variable["key"]] = variable
        elif request.method == "DELETE":
            variables.pop((await request.json())["key"], None)
        return JSONResponse(variables)

    async def _validate_card(self, request: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})

    async def _choose_uploads(self, request: Request) -> Response:
        files = []
        _, commit = self._find_commit(request)
        for file in (await request.json())["files"]:
            path, large = file["path"], self._is_large(file["path"], file["size"])
            known = {"oid": commit.files[path].etag} if path in commit.files else {}
            mode = "lfs" if large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return JSONResponse({"files": files})

    async def _offer_uploads(self, request: Request) -> Response:
        self._find(request)
        objects = (await request.json())["objects"]
        for large_file in objects:
            if large_file["oid"] not in self._large_files:
                upload, verify = {"href": f"{self.url}/lfs/{large_file['oid']}"}, {"href": f"{self.url}/lfs/verify"}
                large_file["actions"] = {"upload": upload, "verify": verify}
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def _upload(self, request: Request) -> Response:
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != request.path_params["oid"]:
            raise HTTPException(400, "The content does not have the announced hash.")
        self._large_files[request.path_params["oid"]] = content
        return Response()

    async def _verify_upload(self, request: Request) -> Response:
        announced = await request.json()
        if len(self._large_files.get(announced["oid"], b"")) != announced["size"]:
            raise HTTPException(404, "There is no such object.")
        return Response()

    async def _commit(self, request: Request) -> Response:
        repository, parent = self._find_commit(request)
        branch = f"refs/heads/{unquote(request.path_params['revision'])}"
        if branch not in repository.refs:
            raise _missing("RevisionNotFound")
        files, header = dict(parent.files), {}
        for line in (await request.body()).splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                header = value
            elif key == "file":
                files[value["path"]] = StoredFile(base64.b64decode(value["content"]))
            elif key == "lfsFile" and value["oid"] in self._large_files:
                files[value["path"]] = StoredFile(self._large_files[value["oid"]], large=True)
            elif key == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            elif key == "deletedFolder":
                folder = value["path"].rstrip("/") + "/"
                files = {path: file for path, file in files.items() if not path.startswith(folder)}
            else:
                raise HTTPException(400, f"Cannot apply {key} to {value['path']}.")
        if header.get("parentCommit", parent.sha) != parent.sha:
            raise HTTPException(412, "A commit has happened since.")
        page, answer = self._page(repository), {}
        if "create_pr" in request.query_params:
            number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
            branch, answer["pullRequestUrl"] = f"refs/pr/{number}", f"{page}/discussions/{number}"
        sha = repository.commit(branch, header["summary"], files, parent).sha
        return JSONResponse({"commitUrl": f"{page}/commit/{sha}", "commitOid": sha, **answer})

    async def _branch(self, request: Request) -> Response:
        repository = self._find(request)
        start = (await request.json()).get("startingPoint", "main")
        return self._point(repository, f"refs/heads/{unquote(request.path_params['branch'])}", repository.find(start))

    async def _tag(self, request: Request) -> Response:
        repository, commit = self._find_commit(request)
        return self._point(repository, f"refs/tags/{(await request.json())['tag']}", commit)

    def _point(self, repository: Repository, reference: str, commit: Commit | None) -> Response:
        if commit is None:
            raise _missing("RevisionNotFound")
        if reference in repository.refs:
            raise HTTPException(409, f"{reference} already exists.")
        repository.refs[reference] = commit
        return JSONResponse({})

    async def _info(self, request: Request) -> Response:
        repository, commit = self._find_commit(request)
        about = {"id": repository.id, "private": repository.private, "sha": commit.sha, "lastModified": commit.date}
        if repository.kind == "space":
            about["sdk"] = repository.sdk
        siblings = [{"rfilename": path, "size": len(file.content)} for path, file in commit.files.items()]
        return JSONResponse({**about, "siblings": siblings})

    async def _refs(self, request: Request) -> Response:
        answer = {"branches": [], "tags": [], "pullRequests": [], "converts": []}
        lists = {"heads": "branches", "tags": "tags", "pr": "pullRequests"}
        for reference, commit in self._find(request).refs.items():
            _, folder, name = reference.split("/", 2)
            answer[lists[folder]].append({"name": name, "ref": reference, "targetCommit": commit.sha})
        return JSONResponse(answer)

    async def _tree(self, request: Request) -> Response:
        _, commit = self._find_commit(request)
        folder = unquote(request.path_params.get("path", ""))
        prefix = f"{folder}/" if folder else ""
        entries = [entry for path, entry in _entries(commit).items() if path.startswith(prefix)]
        if request.query_params.get("recursive") != "true":
            entries = [entry for entry in entries if "/" not in entry["path"][len(prefix) :]]
        if folder and not entries:
            raise _missing("EntryNotFound", commit)
        return JSONResponse(entries)

    async def _paths(self, request: Request) -> Response:
        _, commit = self._find_commit(request)
        entries = _entries(commit)
        wanted = parse_qs((await request.body()).decode()).get("paths", [])
        return JSONResponse([entries[path] for path in wanted if path in entries])

    async def _download(self, request: Request) -> Response:
        _, commit = self._find_commit(request)
        file = commit.files.get(unquote(request.path_params["path"]))
        if file is None:
            raise _missing("EntryNotFound", commit)
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.large:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
        content, size, half = file.content, len(file.content), len(file.content) // 2
        if request.scope["fault"] == "corrupt":
            content = content[:half] + content[half:].translate(bytes(range(255, -1, -1)))
        status, start, end = 200, 0, size
        if "range" in request.headers:
            start, end = _byte_range(request.headers["range"], size)
            if start >= size:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{size}"
        if request.scope["fault"] == "endless":
            return StreamingResponse(self._endless(request, content), status, headers)
        if request.scope["fault"] == "truncate":
            return CutShort(content[start : min(end, half)], status, {**headers, "Content-Length": str(end - start)})
        return Response(content[start:end], status, headers, "application/octet-stream")

    async def _endless(self, request: Request, content: bytes) -> AsyncIterator[bytes]:
        yield content
        while not await request.is_disconnected() and self.sent_in_vain < 2**30:
            self.sent_in_vain += 2**20
            yield bytes(2**20)

    # What endpoints share.

    def _find(self, request: Request) -> Repository:
        names = request.path_params
        kind = KINDS.get(names.get("kind", "models"))
        repository = self._repositories.get((kind, f"{names['user']}/{names['name']}"))
        # A stranger is not told whether a private repository exists.
        if repository is None or (repository.private and "authorization" not in request.headers):
            raise _missing("RepoNotFound")
        return repository

    def _find_commit(self, request: Request) -> tuple[Repository, Commit]:
        repository = self._find(request)
        commit = repository.find(unquote(request.path_params.get("revision", "main")))
        if commit is None:
            raise _missing("RevisionNotFound")
        return repository, commit

    def _is_large(self, path: str, size: int) -> bool:
        return self.large_from is not None and (size >= self.large_from or path.endswith(LARGE_FILES))

    def _page(self, repository: Repository) -> str:
        return f"{self.url}/{'' if repository.kind == 'model' else repository.kind + 's/'}{repository.id}"


class CutShort(Response):
    """An answer with less than the Content-Length that its headers announce."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # The server closes the connection of an answer that is left unfinished.
        await send({"type": "http.response.body", "body": self.body, "more_body": True})


def _git_hash(blob: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()


def _missing(code: str, commit: Commit | None = None) -> HTTPException:
    """Clients tell what is missing by a header, and remember a missing file if they learn the commit."""
    return HTTPException(404, code, {"X-Error-Code": code} | ({"X-Repo-Commit": commit.sha} if commit else {}))


def _entries(commit: Commit) -> dict[str, dict]:
    """Files, and the folders that they imply, by path."""
    entries = {}
    for path, file in commit.files.items():
        for folder in map(str, PurePosixPath(path).parents[:-1]):
            # Not Git's hash of it, but as good a name: it changes with every commit.
            oid = hashlib.sha1(f"{commit.sha} {folder}".encode()).hexdigest()
            entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": oid}
        entries[path] = file.entry(path)
    return entries


def _byte_range(header: str, size: int) -> tuple[int, int]:
    """The first byte of "bytes=first-last" and the one behind the last, which the header may leave out."""
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", header).groups()
    if not first:
        return size - min(size, int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def point_clients_at(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the clients of this process, imported or not, use the hub and keep everything they cache under `home`."""
    # Not at the top: whoever starts the hub to set the environment first must not have them imported by it.
    import huggingface_hub
    from huggingface_hub import constants

    environment = hub.environment(home)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def replace(target: object, **values: object) -> None:
        for name, value in values.items():
            monkeypatch.setattr(target, name, value)

    replace(
        constants,
        ENDPOINT=hub.url,
        HUGGINGFACE_CO_URL_TEMPLATE=hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        HF_URL_HOSTS=constants.HF_URL_HOSTS | {HOST},
        HF_HOME=str(home),
        HF_HUB_CACHE=environment["HF_HUB_CACHE"],
        HF_TOKEN_PATH=str(Path(home, "token")),
        HF_STORED_TOKENS_PATH=str(Path(home, "stored_tokens")),
        HF_HUB_OFFLINE=False,
        HF_HUB_DISABLE_XET=True,
        HF_HUB_DISABLE_TELEMETRY=True,
    )
    # The functions of the package are methods of this instance.
    replace(huggingface_hub.hf_api.api, endpoint=hub.url)
    if "datasets" in sys.modules:
        cache = Path(environment["HF_DATASETS_CACHE"])
        replace(
            sys.modules["datasets"].config,
            HF_ENDPOINT=hub.url,
            HUB_DATASETS_URL=hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
            HF_CACHE_HOME=str(home),
            HF_DATASETS_CACHE=cache,
            HF_MODULES_CACHE=Path(home, "modules"),
            DOWNLOADED_DATASETS_PATH=cache / "downloads",
            EXTRACTED_DATASETS_PATH=cache / "downloads" / "extracted",
            HF_HUB_OFFLINE=False,
            HF_UPDATE_DOWNLOAD_COUNTS=False,
        )
    # An open session keeps the proxies that it began with; the listings would be wrong should a port come back.
    replace(huggingface_hub.utils._http, _GLOBAL_CLIENT=None)
    huggingface_hub.HfFileSystem.clear_instance_cache()


def skip_waits(monkeypatch: pytest.MonkeyPatch, timeout: float | None = None) -> None:
    """Let the clients of this process try again at once, where they would wait for 1, 2, 4, 8 and 8 seconds.

    Args:
        timeout: seconds for which they wait for a file that hangs, instead of 10 and, trying again, 60.
    """
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "datasets.utils.file_utils"):
        if module in sys.modules:
            monkeypatch.setattr(sys.modules[module], "time", hasty)
    if timeout is not None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", timeout)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", timeout)
        monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", timeout)
