"""Requests to servers: temporary failures are retried, and other failures are raised with advice."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from time import monotonic
from typing import TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import httpx, parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (1, 2, 4, 8, 16)  # 31 s in addition to the retries of the Hub's own client, 23 s for most requests
MAX_PATIENCE_S = 900  # three of the Hub's five-minute windows; less than ddp_timeout, after which other processes end
LONG_WAIT_S = 30
TIMEOUT_S = 120  # for requests to which the client of the Hub gives no timeout
BUSY = (408, 429, 500, 502, 503, 504)
TOO_MANY = 429
FEWER_REQUESTS = (
    ". A token raises the limit (`hf auth login` or HF_TOKEN); a dataset that was downloaded once needs no requests: "
    '`hf download --repo-type dataset NAME --include "CONFIG/*" --local-dir FOLDER`'
)
LOG_IN = (
    ". If the name is right, log in with `hf auth login` or set HF_TOKEN, with a token that has this permission. For a "
    "gated repository, also accept its conditions on its page"
)
# All errors of the Hub's clients and of the network. An interrupted upload raises RuntimeError.
FAILURES = (HTTPError, OSError, ValueError, RuntimeError)


class BusyServerError(ConnectionError):
    """A server has been busy for `MAX_PATIENCE_S`, or asks for a longer pause. It is not asked again."""


class _BusyTime:
    """For how long this process has got nothing but busy answers, whichever request and whichever loop waits."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_s = 0.0

    def note(self, response: httpx.Response) -> None:
        """
        Note an answer. After a busy one, the Hub's client, `datasets` or `Patience` sleep, each in its own loop.

        Raises:
            BusyServerError: together they would wait too long.
        """
        if response.status_code not in BUSY:
            self._since_s = None
            return
        now_s, since_s = monotonic(), self._since_s  # other threads note their answers meanwhile
        if since_s is None or now_s - self._last_s > MAX_PATIENCE_S:
            since_s = now_s
        self._since_s, self._last_s = since_s, now_s
        waited_s, (pause_s, reason) = now_s - since_s, asked_pause_s(response)
        what, todo = response.request.url.path, FEWER_REQUESTS if response.status_code == TOO_MANY else ""
        if waited_s + pause_s > MAX_PATIENCE_S:
            raise BusyServerError(
                f"{what}: {reason}. After {waited_s:.0f} s of waiting, it asks for {pause_s} s more; a run waits for "
                f"{MAX_PATIENCE_S} s at most{todo}"
            )
        if pause_s > LONG_WAIT_S:
            logger.warning("%s: %s, waiting %d s%s", what, reason, pause_s, todo)


_busy_time = _BusyTime()


def asked_pause_s(response: httpx.Response) -> tuple[int, str]:
    """Return the pause that a busy server asks for, in s (0 if it does not say), and what it says."""
    found = parse_ratelimit_headers(response.headers)
    if response.status_code == TOO_MANY and found is not None and found.remaining == 0:
        limit = f" (the limit is {found.limit:,} requests in {found.window_seconds} s)" if found.limit else ""
        return found.reset_in_seconds, f"the Hub allows no more requests for now{limit}"
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isdigit() else 0, f"the server is busy (status {response.status_code})"


@functools.cache
def limit_requests() -> None:
    """
    Limit all later requests of the Hub's client: each to `TIMEOUT_S`, unless it has its own timeout, and all that meet
    a busy server to `MAX_PATIENCE_S`.

    By default the client waits forever for a server that accepts a request and does not answer. At the limit of
    requests it sleeps for minutes in each of 6 attempts, and `datasets` starts it 20 times: hours.
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
    client.event_hooks["response"].append(_busy_time.note)
    return client


class Patience:
    """
    The pauses between the attempts of one request, which end `MAX_PATIENCE_S` after the last answer.

    `what` names the request in the log.
    """

    def __init__(self, what: str):
        limit_requests()
        self.what = what
        self.renew()

    def renew(self) -> None:
        """Restore all pauses, after an answer."""
        self._pauses_s = list(PAUSES_S)
        self._since_s = monotonic()

    def wait(self, error: Exception) -> bool:
        """Sleep before the next attempt, at least as long as the server asks. Return False if no attempt is left."""
        found = _of_the_network(error)
        if not self._pauses_s or isinstance(found, BusyServerError):
            return False
        asked_s, _ = asked_pause_s(found.response) if isinstance(found, HfHubHTTPError) else (0, "")
        pause_s = max(self._pauses_s.pop(0), asked_s)
        if monotonic() - self._since_s + pause_s > MAX_PATIENCE_S:  # an attempt of the clients can take minutes, too
            return False
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
    return found is not None and not isinstance(found, OfflineModeIsEnabled | BusyServerError)


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
        if found.response.status_code == TOO_MANY:
            return FEWER_REQUESTS
        return ". The Hub is busy; try the same command later" if found.response.status_code in BUSY else ""
    if isinstance(found, BusyServerError):
        return ""  # its message has it
    if found is not None or isinstance(error, ConnectionError):
        return ". The Hub cannot be reached; check the network, the proxy, HF_ENDPOINT and HF_HUB_OFFLINE"
    return ""


def _of_the_network(error: BaseException | None) -> BaseException | None:
    """Return the error of the request that caused this error, if there is one."""
    own = (HfHubHTTPError, OfflineModeIsEnabled, BusyServerError, httpx.TransportError)
    while error is not None and not isinstance(error, own):
        error = error.__cause__ or error.__context__
    return error


def in_background(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread. A process that ends does not wait for it, as it would for one of an executor."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future
