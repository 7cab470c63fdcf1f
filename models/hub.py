"""Access to the Hub: proxies, tokens, and errors as one line.

Importing it is cheap: huggingface_hub reads the environment when it is imported, so that its users may change that first.
"""

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

INVALID_TOKEN = (
    "the token for the Hub is invalid or has expired: log in anew (hf auth login --force), or set HF_TOKEN to a new one"
)


def ask_this_machine_directly() -> None:
    """Make this process send requests to localhost without a proxy, whatever proxy the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        if (hosts := os.environ.get(name, "")) != "*":
            os.environ[name] = ",".join(filter(None, (hosts, "localhost", "127.0.0.1", "::1")))


def rejects_token(error: "HfHubHTTPError") -> bool:
    """Whether the Hub refused the token of a request rather than the request."""
    return error.response.status_code == 401 and "authorization" in error.response.request.headers


def check_can_push(repository: str) -> None:
    """Check before hours of training that the model can be pushed to a repository.

    Raises:
        ValueError: it is no name of a repository, or there is no token that may write there.
        OSError, httpx2.HTTPError: the Hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        if repository.count("/") != 1:
            raise HFValidationError
    except HFValidationError:
        raise ValueError(f"{repository!r} is no name of a repository: it is user/name") from None
    try:
        account = HfApi().whoami()
    except LocalTokenNotFoundError:
        raise ValueError(f"to push to {repository} log in first: hf auth login, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise ValueError(f"cannot push to {repository}: {INVALID_TOKEN}") from error
        raise
    if not _may_write(account.get("auth", {}).get("accessToken", {})):
        raise ValueError(
            f"cannot push to {repository}: this token may only read; make one that may write, in the Hub's settings under "
            "Access Tokens, and log in with it (hf auth login --force)"
        )
    organisations = [entry["name"] for entry in account.get("orgs", []) if entry.get("roleInOrg") != "read"]
    names = [account["name"], *organisations]
    if repository.partition("/")[0].lower() not in map(str.lower, names):
        raise ValueError(f"cannot push to {repository}: the token may push to the names of {' and '.join(names)} only")


def _may_write(token: dict[str, Any]) -> bool:
    """Whether an access token, as the Hub describes it, may write anywhere. A token without a description may."""
    if token.get("role") != "fineGrained":
        return token.get("role") != "read"
    scopes = token.get("fineGrained", {}).get("scoped", [])
    return any("write" in permission for scope in scopes for permission in scope.get("permissions", []))


def one_line(error: BaseException) -> str:
    """An error's message in one line of at most 300 characters, without passwords."""
    return without_password(" ".join(str(error).split()))[:300] or type(error).__name__


def without_password(text: str) -> str:
    """A text without the user and password of its addresses, which HF_ENDPOINT may hold."""
    return re.sub(r"//[^/\s]*@", "//", text)
