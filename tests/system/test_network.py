"""The limit of the Hub's requests; tests/training/test_hub.py and tests/data/test_hub_reading.py have its effect."""

import runpy
from collections.abc import Iterator

import pytest
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from deepspeech2.system import network


@pytest.fixture(autouse=True)
def first_use() -> Iterator[None]:
    """The client of the Hub is that of a new process, here and for the tests that follow."""
    set_client_factory(default_client_factory)
    network.limit_requests.cache_clear()
    yield
    set_client_factory(default_client_factory)
    network.limit_requests.cache_clear()


def test_requests_are_limited_from_the_first_on_and_not_by_an_import():
    runpy.run_path(network.__file__)
    unlimited = get_session()
    assert unlimited.timeout.read is None
    network.Patience("a file")
    limited = get_session()
    assert limited.timeout.read == 120 and limited.follow_redirects
    assert limited.event_hooks["request"] == unlimited.event_hooks["request"]
    network.Patience("another file")
    assert get_session() is limited


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks5h://127.0.0.1:9", "proxy.example:8080", "ftp://a:1"])
def test_a_proxy_that_cannot_be_used_matters_to_the_hub_alone_and_comes_with_the_remedy(proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with network.reading("a local corpus"):
        pass
    if proxy == "proxy.example:8080":  # a missing scheme is taken for http
        network.ask("a model", get_session)
        return
    with pytest.raises(ConnectionError) as told:
        network.ask("a model", get_session)
    assert "the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY cannot be used" in str(told.value)
    assert "pip install socksio" in str(told.value) and "http://proxy:8080" in str(told.value)
