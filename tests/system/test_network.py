"""The limit of the Hub's requests; tests/training/test_hub.py and tests/data/test_hub_reading.py have its effect."""

import os

import pytest

import forked

SCRIPT = """
from huggingface_hub import get_session
from deepspeech2.system import network
print(get_session().timeout.read)
hooks = get_session().event_hooks["request"]
network.Patience("a file")
client = get_session()
print(client.timeout.read, client.event_hooks["request"] == hooks, client.follow_redirects)
network.Patience("another file")
print(get_session() is client)
"""


def test_requests_are_limited_from_the_first_on_and_not_by_an_import():
    done = forked.run(["python", "-c", SCRIPT])
    assert done.stdout.splitlines() == ["None", "120 True True", "True"], done.stderr


PROXY_SCRIPT = """
from huggingface_hub import get_session
from deepspeech2.system import network
with network.reading("a local corpus"):
    print("read")
try:
    network.ask("a model", get_session)
except ConnectionError as error:
    print(error)
"""


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks5h://127.0.0.1:9", "proxy.example:8080", "ftp://a:1"])
def test_a_proxy_that_cannot_be_used_matters_to_the_hub_alone_and_comes_with_the_remedy(proxy):
    done = forked.run(["python", "-c", PROXY_SCRIPT], os.environ | {"ALL_PROXY": proxy})
    assert done.returncode == 0, done.stderr
    read, *rest = done.stdout.splitlines()
    assert read == "read"
    if rest:
        assert "the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY cannot be used" in rest[0]
        assert "pip install socksio" in rest[0] and "http://proxy:8080" in rest[0]
    assert rest or proxy == "proxy.example:8080"  # a missing scheme is taken for http
