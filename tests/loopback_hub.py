"""A small Hugging Face Hub on 127.0.0.1: the real clients push, pull and stream in tests, without a network.

`point_clients_at` points the clients of this process at it, `LoopbackHub.environment` those of another. Repositories live
in memory, with commits and branches. Files of every size are uploaded within the commit, without Git LFS or Xet. Downloads
of weights come with their SHA-256, as the Hub's large files do.
"""

import base64
import hashlib
import itertools
import json
import logging
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

import datasets
import huggingface_hub
import pytest
import uvicorn
from huggingface_hub import constants
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

HOST = "127.0.0.1"

# Any token is this user's, except the one that the Hub has revoked.
USER = "tester"
TOKEN = "hf_loopback"
REVOKED_TOKEN = "hf_revoked"
WRITE, READ = {"role": "write"}, {"role": "read"}

# Repository types as clients name them, by what their addresses say.
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: one of
            "refuse": nothing listens at the hub's address any more. Ignores the other attributes;
            "hang": the request is read and never answered;
            "close": the connection is closed without an answer;
            "503", or any other status: that is the answer;
            "corrupt": a downloaded file has its size, and in its second half the wrong bytes;
            "endless": a downloaded file comes without its size, and goes on for 300 MB.
        requests: regular expression searched for in "METHOD /path" of each request; others go well.
        seen: how many went wrong.
    """

    kind: str
    requests: str = ""
    seen: int = field(default=0, init=False)

    def strikes(self, request: str) -> bool:
        """Whether this request is to go wrong; counts it."""
        is_spared = self.kind in ("corrupt", "endless") and not re.search("^GET .*/resolve/", request)
        strikes = not is_spared and bool(re.search(self.requests, request))
        self.seen += strikes
        return strikes


class Commit(NamedTuple):
    sha: str
    files: dict[str, bytes]


class Repository:
    """A model, data set or Space as it stands on the hub.

    Attributes:
        revisions: the commit that each branch or sha stands for.
        commits: all of them, newest first; the last one is empty.
        private, gated: who may see it, and who may read its files.
        sdk, variables: of Spaces only.
    """

    def __init__(self, private: bool = False, sdk: str | None = None):
        self.private, self.gated, self.sdk = private, False, sdk
        self.variables: dict[str, dict] = {}
        self.revisions: dict[str, Commit] = {}
        self.commits: list[Commit] = []
        self.commit({})

    @property
    def files(self) -> dict[str, bytes]:
        """Paths and contents at the head of the branch main."""
        return self.revisions["main"].files

    def commit(self, files: dict[str, bytes], branch: str = "main") -> Commit:
        """Put a commit with these files, all that there are, on top of a branch."""
        # The number tells commits apart that hold the same.
        identity = [len(self.commits), {path: _git_hash(content) for path, content in files.items()}]
        commit = Commit(hashlib.sha1(json.dumps(identity).encode()).hexdigest(), files)
        self.commits.insert(0, commit)
        self.revisions[branch] = self.revisions[commit.sha] = commit
        return commit


class LoopbackHub:
    """The server, up while the context lasts.

    Attributes:
        requests: the method and path of everything that was asked, in order of arrival.
        access: what every token may do, in the words of the real Hub's whoami.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._port = 0
        self._server: uvicorn.Server | None = None
        repository = "/api/{kind}/{user}/{name}"
        self._application = Starlette(
            routes=[
                Route("/api/whoami-v2", self._who_am_i),
                Route("/api/validate-yaml", lambda _: JSONResponse({"errors": [], "warnings": []}), methods=["POST"]),
                Route("/api/repos/create", self._create, methods=["POST"]),
                Route(repository, self._info),
                Route(repository + "/revision/{revision}", self._info),
                Route(repository + "/tree/{revision}", self._tree),
                Route(repository + "/tree/{revision}/{path:path}", self._tree),
                Route(repository + "/preupload/{revision}", self._choose_uploads, methods=["POST"]),
                Route(repository + "/commit/{revision}", self._commit, methods=["POST"]),
                Route(repository + "/branch/{branch}", self._branch, methods=["POST"]),
                Route(repository + "/variables", self._variables, methods=["GET", "POST", "DELETE"]),
                Route("/{kind}/{user}/{name}/resolve/{revision}/{path:path}", self._download),
                Route("/{user}/{name}/resolve/{revision}/{path:path}", self._download),
            ]
        )

    # What tests use.

    def __enter__(self) -> Self:
        self.reset()
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
        self._fault = Fault(fault) if isinstance(fault, str) else fault
        if self._fault is not None and self._fault.kind == "refuse":
            self._stop()
        elif self._server is None:
            self._start()

    def reset(self) -> None:
        """Forget everything, as if just started."""
        self.fault = None
        self.requests.clear()
        self.access: dict = WRITE
        self._repositories: dict[tuple[str, str], Repository] = {}

    def repository(self, kind: str, id: str) -> Repository:
        """The "model", "dataset" or "space" of this id, such as "user/repo"; KeyError if nobody made it."""
        return self._repositories[kind, id]

    def add_folder(self, kind: str, id: str, folder: Path) -> Repository:
        """Publish a copy of a folder, without a client; later pushes do not reach the folder itself."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        repository = self._repositories[kind, id] = Repository()
        repository.commit({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})
        return repository

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that make the clients of a new process use this hub and keep everything they cache under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(Path(home, "hub")),
            "HF_DATASETS_CACHE": str(Path(home, "datasets")),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "no_proxy": "*",
            "NO_PROXY": "*",
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
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._server = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        method, path = request.method, scope["path"]
        self.requests.append((method, path))
        fault = self._fault.kind if self._fault is not None and self._fault.strikes(f"{method} {path}") else ""
        if fault == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        answer: Response | None = None
        if fault.isdigit():
            answer = PlainTextResponse("This is a test of what happens then.", int(fault))
        elif request.headers.get("authorization") == f"Bearer {REVOKED_TOKEN}":
            message = "Invalid credentials in Authorization header"
            answer = PlainTextResponse(message, 401, {"X-Error-Message": message})
        if answer is not None or fault == "close":
            # A client that is answered while it still sends may or may not see the answer.
            await request.body()
        if fault == "close":  # As the server does with an answer that is left unfinished. No client uses it again.
            headers = [(b"content-length", b"1"), (b"connection", b"close")]
            return await send({"type": "http.response.start", "status": 200, "headers": headers})
        await (answer or self._application)({**scope, "fault": fault}, receive, send)

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
            self._repositories[kind, id] = Repository(wanted.get("visibility") == "private", wanted.get("sdk"))
        return JSONResponse({"url": self._page(kind, id), "name": id, "id": id}, status)

    async def _variables(self, request: Request) -> Response:
        variables = self._find(request).variables
        if request.method == "POST":
            variable = await request.json()
            variables[variable["key"]] = variable
        elif request.method == "DELETE":
            variables.pop((await request.json())["key"], None)
        return JSONResponse(variables)

    async def _choose_uploads(self, request: Request) -> Response:
        there = self._find_commit(request).files
        files = [
            {"path": path, "uploadMode": "regular", "shouldIgnore": False}
            | ({"oid": _git_hash(there[path])} if path in there else {})
            for path in (file["path"] for file in (await request.json())["files"])
        ]
        return JSONResponse({"files": files})

    async def _commit(self, request: Request) -> Response:
        branch, files = request.path_params["revision"], dict(self._find_commit(request).files)
        for operation in map(json.loads, (await request.body()).splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        repository = self._find(request)
        sha = repository.commit(files, branch).sha
        page = self._page(KINDS[request.path_params["kind"]], _id(request))
        return JSONResponse({"commitUrl": f"{page}/commit/{sha}", "commitOid": sha})

    async def _branch(self, request: Request) -> Response:
        revisions = self._find(request).revisions
        revisions[request.path_params["branch"]] = revisions["main"]
        return JSONResponse({})

    async def _info(self, request: Request) -> Response:
        repository, commit = self._find(request), self._find_commit(request)
        siblings = [{"rfilename": path, "size": len(content)} for path, content in commit.files.items()]
        return JSONResponse(
            {"id": _id(request), "private": repository.private, "sha": commit.sha, "siblings": siblings}
        )

    async def _tree(self, request: Request) -> Response:
        commit = self._find_commit(request)
        entries: dict[str, dict] = {}
        for path, content in commit.files.items():
            for folder in map(str, PurePosixPath(path).parents[:-1]):
                entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": commit.sha}
            entries[path] = {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
        folder = request.path_params.get("path", "")
        prefix = f"{folder}/" if folder else ""
        is_deep = request.query_params.get("recursive") == "true"
        found = [
            entry
            for path, entry in entries.items()
            if path.startswith(prefix) and (is_deep or "/" not in path.removeprefix(prefix))
        ]
        if folder and not found:
            raise _missing("EntryNotFound", commit)
        return JSONResponse(found)

    async def _download(self, request: Request) -> Response:
        commit, path = self._find_commit(request), request.path_params["path"]
        if self._find(request).gated:
            raise HTTPException(403, headers={"X-Error-Code": "GatedRepo"})
        content = commit.files.get(path)
        if content is None:
            raise _missing("EntryNotFound", commit)
        size, half, fault = len(content), len(content) // 2, request.scope["fault"]
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{_git_hash(content)}"', "Accept-Ranges": "bytes"}
        if path.endswith(".safetensors"):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": str(size)}
        if fault == "corrupt":
            content = content[:half] + content[half:].translate(bytes(range(255, -1, -1)))
        status, start, end = 200, 0, size
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start, end = int(asked[1]), min(size, int(asked[2] or size) + 1)
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{size}"
        if fault == "endless":
            endless = itertools.chain([content], itertools.repeat(bytes(2**20), 300))
            return StreamingResponse(endless, status, headers)
        return Response(content[start:end], status, headers, "application/octet-stream")

    # What endpoints share.

    def _find(self, request: Request) -> Repository:
        repository = self._repositories.get((KINDS[request.path_params.get("kind", "models")], _id(request)))
        # A stranger is not told whether a private repository exists.
        if repository is None or (repository.private and "authorization" not in request.headers):
            raise _missing("RepoNotFound")
        return repository

    def _find_commit(self, request: Request) -> Commit:
        commit = self._find(request).revisions.get(request.path_params.get("revision", "main"))
        if commit is None:
            raise _missing("RevisionNotFound")
        return commit

    def _page(self, kind: str, id: str) -> str:
        return f"{self.url}/{'' if kind == 'model' else kind + 's/'}{id}"


def _id(request: Request) -> str:
    return "{user}/{name}".format(**request.path_params)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _missing(code: str, commit: Commit | None = None) -> HTTPException:
    """Clients tell what is missing by a header, and remember a missing file if they learn the commit."""
    return HTTPException(404, code, {"X-Error-Code": code} | ({"X-Repo-Commit": commit.sha} if commit else {}))


def point_clients_at(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the clients of this process, imported already, use the hub and keep everything they cache under `home`."""
    for name, value in hub.environment(home).items():
        monkeypatch.setenv(name, value)
    changes = {
        constants: {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_URL_HOSTS": constants.HF_URL_HOSTS | {HOST},
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_DISABLE_XET": True,
        },
        datasets.config: {
            "HF_ENDPOINT": hub.url,
            "HUB_DATASETS_URL": hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
            "HF_DATASETS_CACHE": home / "datasets",
        },
        # The functions of the package are methods of this instance.
        huggingface_hub.hf_api.api: {"endpoint": hub.url},
        # An open session keeps the proxies that it began with.
        huggingface_hub.utils._http: {"_GLOBAL_CLIENT": None},
    }
    for target, values in changes.items():
        for name, value in values.items():
            monkeypatch.setattr(target, name, value)
    # The listings would be wrong should a port come back.
    huggingface_hub.HfFileSystem.clear_instance_cache()
