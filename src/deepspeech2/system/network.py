"""Requests to servers: temporary failures are retried, and other failures are raised with advice."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from huggingface_hub.utils._http import default_client_factory

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (1, 2, 4, 8, 16)  # 31 s in addition to the retries of the Hub's own client, 23 s for most requests
MAX_PAUSE_S = 600  # limit of the pause that a server asks for by Retry-After
TIMEOUT_S = 120  # for requests to which the client of the Hub gives no timeout
BUSY = (408, 429, 500, 502, 503, 504)
LOG_IN = (
    ". If the name is right, log in with `hf auth login` or set HF_TOKEN, with a token that has this permission. For a "
    "gated repository, also accept its conditions on its page"
)
# All errors of the Hub's clients and of the network. An interrupted upload raises RuntimeError.
FAILURES = (HTTPError, OSError, ValueError, RuntimeError)


@functools.cache
def limit_requests() -> None:
    """
    Give all later requests of the Hub's client the timeout `TIMEOUT_S`, unless they have their own.

    By default the client waits forever for a server that accepts a request and does not answer.
    """
    set_client_factory(_limited_client)  # no client yet: a run without the Hub needs none, whatever the proxy


def _limited_client() -> httpx.Client:
    """
    Return a client of the Hub with a timeout.

    Raises:
        ConnectionError: the proxy of the environment cannot be used.
    """
    try:
        client = default_client_factory()  # its hooks enforce HF_HUB_OFFLINE and number the requests
    except (ImportError, ValueError) as error:
        raise ConnectionError(
            f"the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY cannot be used: {error} For a SOCKS proxy: pip install "
            "socksio. Any other needs its scheme, as in http://proxy:8080"
        ) from error
    client.timeout = httpx.Timeout(TIMEOUT_S)
    return client


class Patience:
    """The pauses between the attempts of one request. `what` names the request in the log."""

    def __init__(self, what: str):
        limit_requests()
        self.what = what
        self.renew()

    def renew(self) -> None:
        """Restore all pauses, after an answer."""
        self._pauses_s = list(PAUSES_S)

    def wait(self, error: Exception) -> bool:
        """Sleep before the next attempt, at least for the server's Retry-After. Return False if no attempt is left."""
        if not self._pauses_s:
            return False
        pause_s = max(self._pauses_s.pop(0), min(_retry_after_s(error), MAX_PAUSE_S))
        cause = " ".join(str(error).split()) or type(error).__name__
        logger.warning("%s: request failed; next attempt in %d s: %s", self.what, pause_s, cause)
        time.sleep(pause_s)
        return True


def ask(what: str, call: Callable[[], T]) -> T:
    """
    Return the result of `call`, which is retried while its error is temporary.

    It is for requests that the client of the Hub does not retry: to create a repository, to check a card, to commit,
    and to get the first files of a dataset or a model.
    """
    patience = Patience(what)
    while True:
        try:
            return call()
        except FAILURES as error:
            if not may_pass(error) or not patience.wait(error):
                raise


@contextmanager
def reading(corpus: str) -> Iterator[None]:
    """
    Name the corpus in the errors of reading it.

    Raises:
        ConnectionError: the server or the disk fails. It replaces the error of the client or the operating system.
        ValueError: a file is damaged. It replaces the error of Arrow.
    """
    from pyarrow import ArrowInvalid  # a command that reads no corpus needs neither this nor datasets

    limit_requests()
    try:
        yield
    except (HTTPError, OSError, ArrowInvalid, UnicodeDecodeError) as error:
        if type(error) is OSError or not isinstance(error, (HTTPError, OSError)):  # Arrow raises a bare OSError
            cause = " ".join(str(error).split()).rstrip(". ")
            raise ValueError(f"a file of {corpus} is damaged: {cause}. Download or write the file again") from error
        raise ConnectionError(
            f"{corpus} cannot be read any further: {error}{advice(error)}. Fix this and run the same command again; a "
            "training run resumes from its last checkpoint"
        ) from error


def may_pass(error: BaseException) -> bool:
    """Return whether an error, or its cause, is temporary: a server that is busy, unreachable or disconnected."""
    found = _of_the_network(error)
    if isinstance(found, HfHubHTTPError):
        return found.response.status_code in BUSY
    return found is not None and not isinstance(found, OfflineModeIsEnabled)


def advice(error: BaseException) -> str:
    """Return the advice to append to the message of a Hub or network error, or an empty string."""
    from datasets.exceptions import DatasetNotFoundError

    found = _of_the_network(error)
    if isinstance(error, DatasetNotFoundError) or isinstance(found, RepositoryNotFoundError):
        return LOG_IN
    if isinstance(found, OfflineModeIsEnabled):
        return ". HF_HUB_OFFLINE is set; unset it, or use data and models of this machine"
    if isinstance(found, HfHubHTTPError):
        if found.response.status_code in (401, 403):
            return LOG_IN
        return ". The Hub is busy; try the same command later" if found.response.status_code in BUSY else ""
    if found is not None or isinstance(error, ConnectionError):
        return ". The Hub cannot be reached; check the network, the proxy, HF_ENDPOINT and HF_HUB_OFFLINE"
    return ""


def _of_the_network(error: BaseException | None) -> BaseException | None:
    """Return the error of the request that caused this error, if there is one."""
    own = (HfHubHTTPError, OfflineModeIsEnabled, httpx.TransportError)
    while error is not None and not isinstance(error, own):
        error = error.__cause__ or error.__context__
    return error


def _retry_after_s(error: BaseException) -> int:
    found = _of_the_network(error)
    value = found.response.headers.get("Retry-After", "") if isinstance(found, HfHubHTTPError) else ""
    return int(value) if value.isdigit() else 0
