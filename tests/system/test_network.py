"""The limit of the Hub's requests; tests/training/test_hub.py and tests/data/test_hub_reading.py have its effect."""

import subprocess
import sys

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
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["None", "120 True True", "True"]
