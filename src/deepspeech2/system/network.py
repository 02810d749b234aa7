"""Requests to servers: a failure that may pass is waited for; any other is raised with what to do about it."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from pyarrow import ArrowInvalid

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (1, 2, 4, 8, 16)  # half a minute, beside what the client of the Hub itself waits: 23 s for most requests
MAX_PAUSE_S = 600  # of what a server asks for by Retry-After
TIMEOUT_S = 120  # of requests that the client of the Hub gives no limit
BUSY = (408, 429, 500, 502, 503, 504)
LOG_IN = (
    ". If the name is right, log in with `hf auth login` or set HF_TOKEN, with a token that may do this; a gated "
    "repository also wants its conditions accepted on its page"
)
# Every error of the Hub's clients and of the network is one of them; an upload that is cut off is a RuntimeError.
FAILURES = (HTTPError, OSError, ValueError, RuntimeError)


@functools.cache
def limit_requests() -> None:
    """
    From now on requests of the Hub's client end after `TIMEOUT_S`, if they have no limit of their own. By default it
    waits for ever for a server that takes a request and does not answer.
    """
    hooks = get_session().event_hooks  # those that keep to HF_HUB_OFFLINE and number the requests
    set_client_factory(lambda: httpx.Client(event_hooks=hooks, follow_redirects=True, timeout=TIMEOUT_S))


class Patience:
    """The pauses between the attempts at one thing; `what` is for the log."""

    def __init__(self, what: str):
        limit_requests()
        self.what = what
        self.renew()

    def renew(self) -> None:
        """All pauses again, after an answer."""
        self._pauses_s = list(PAUSES_S)

    def wait(self, error: Exception) -> bool:
        """Sleeps, for as long as the server asks for if it does; False if there were enough attempts."""
        if not self._pauses_s:
            return False
        pause_s = max(self._pauses_s.pop(0), min(_retry_after_s(error), MAX_PAUSE_S))
        cause = " ".join(str(error).split()) or type(error).__name__
        logger.warning("%s: trying again in %d s: %s", self.what, pause_s, cause)
        time.sleep(pause_s)
        return True


def ask(what: str, call: Callable[[], T]) -> T:
    """
    The answer of `call`, which is repeated while its error may pass.

    For what the client of the Hub asks but once: creating a repository, checking a card, the commit, a dataset's and a
    model's first files.
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
    """Names the corpus that a server, or the disk, gives no more of.

    Raises:
        ConnectionError: instead of the error of the client or of the operating system.
        ValueError: one of its files is damaged, instead of the error of Arrow.
    """
    limit_requests()
    try:
        yield
    except (HTTPError, OSError, ArrowInvalid, UnicodeDecodeError) as error:
        if type(error) is OSError or not isinstance(error, (HTTPError, OSError)):  # Arrow raises a bare OSError
            cause = " ".join(str(error).split()).rstrip(". ")
            raise ValueError(f"a file of {corpus} is damaged: {cause}. Fetch or write it again") from error
        raise ConnectionError(
            f"{corpus} cannot be read any further: {error}{advice(error)}. Once it can, the same command goes "
            "on, a training from its last checkpoint"
        ) from error


def may_pass(error: BaseException) -> bool:
    """Whether a server was but busy, out of reach or cut off, also where a library says so in an error of its own."""
    found = _of_the_network(error)
    if isinstance(found, HfHubHTTPError):
        return found.response.status_code in BUSY
    return found is not None and not isinstance(found, OfflineModeIsEnabled)


def advice(error: BaseException) -> str:
    """What to do about an error of the Hub or of the way to it, to stand behind it; empty where nothing is to add."""
    found = _of_the_network(error)
    if isinstance(error, DatasetNotFoundError) or isinstance(found, RepositoryNotFoundError):
        return LOG_IN
    if isinstance(found, OfflineModeIsEnabled):
        return ". HF_HUB_OFFLINE is set: unset it, or take what lies on this machine"
    if isinstance(found, HfHubHTTPError):
        if found.response.status_code in (401, 403):
            return LOG_IN
        return ". The Hub is busy: the same command later" if found.response.status_code in BUSY else ""
    if found is not None or isinstance(error, ConnectionError):
        return ". The Hub is out of reach: look at the network, the proxy, HF_ENDPOINT and HF_HUB_OFFLINE"
    return ""


def _of_the_network(error: BaseException | None) -> BaseException | None:
    """The error of a request that this one was raised for."""
    own = (HfHubHTTPError, OfflineModeIsEnabled, httpx.TransportError)
    while error is not None and not isinstance(error, own):
        error = error.__cause__ or error.__context__
    return error


def _retry_after_s(error: BaseException) -> int:
    found = _of_the_network(error)
    value = found.response.headers.get("Retry-After", "") if isinstance(found, HfHubHTTPError) else ""
    return int(value) if value.isdigit() else 0
