"""Access to the Hub: proxies, tokens, and errors as one line.

It imports huggingface_hub late: that library reads the environment on import, and callers may change it first.
"""

import os
import re
from contextlib import suppress
from typing import Any

INVALID_TOKEN = (
    "the token for the Hub is invalid or has expired: log in anew (hf auth login --force), or set HF_TOKEN to a new one"
)


def ask_this_machine_directly() -> None:
    """Make this process send requests to localhost without a proxy, whatever proxy the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        if (hosts := os.environ.get(name, "")) != "*":
            os.environ[name] = ",".join(filter(None, (hosts, "localhost", "127.0.0.1", "::1")))


def rejects_token(error: Exception) -> bool:
    """Whether a request failed for its token: the Hub refused it, or it holds characters that no request can."""
    from httpx2 import LocalProtocolError
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 401 and "authorization" in error.response.request.headers
    return isinstance(error, (LocalProtocolError, UnicodeEncodeError))


def is_repository(name: str) -> bool:
    """Whether a name can be one of a repository, user/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    with suppress(HFValidationError):
        validate_repo_id(name)
        return name.count("/") == 1
    return False


def check_can_push(repository: str) -> None:
    """Raise ValueError unless a model can be pushed to a repository, before hours of training."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    if not is_repository(repository):
        raise ValueError(f"{repository!r} is no name of a repository: it is user/name")
    try:
        account = HfApi().whoami()
    except LocalTokenNotFoundError:
        raise ValueError(f"to push to {repository} log in first: hf auth login, or set HF_TOKEN") from None
    except (OSError, httpx2.HTTPError, UnicodeEncodeError) as error:
        reason = INVALID_TOKEN if rejects_token(error) else one_line(error)
        raise ValueError(f"cannot push to {repository}: {reason}") from None
    if not _may_write(account.get("auth", {}).get("accessToken", {}), repository):
        raise ValueError(
            f"cannot push to {repository}: this token may only read there; make one that may write, in the Hub's settings "
            "under Access Tokens, and log in with it (hf auth login --force)"
        )
    organisations = [entry["name"] for entry in account.get("orgs", []) if entry.get("roleInOrg") != "read"]
    names = [account["name"], *organisations]
    if repository.partition("/")[0].lower() not in map(str.lower, names):
        raise ValueError(f"cannot push to {repository}: the token may push to the names of {' and '.join(names)} only")


def _may_write(token: dict[str, Any], repository: str) -> bool:
    """Whether an access token, as the Hub describes it, may write there. A token without a description may."""
    if token.get("role") != "fineGrained":
        return token.get("role") != "read"
    scopes = [scope for scope in token["fineGrained"]["scoped"] if "repo.write" in scope["permissions"]]
    places = {scope["entity"]["name"].lower() for scope in scopes}
    return not places.isdisjoint((repository.lower(), repository.partition("/")[0].lower()))


def one_line(error: BaseException) -> str:
    """An error's message in one line of at most 300 characters, without passwords."""
    return without_password(" ".join(str(error).split()))[:300] or type(error).__name__


def without_password(text: str) -> str:
    """A text without the user and password of its addresses, which HF_ENDPOINT may hold."""
    return re.sub(r"//[^/\s]*@", "//", text)
