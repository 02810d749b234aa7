"""
The page in a real browser: upload, words, captions, commands, two models; and as a Space. The README's pictures:

    DEMO_PICTURES=recipes/quickstart DEMO_MODEL=outputs/quickstart pytest -m slow tests/inference/test_demo.py
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

import tiny
from deepspeech2.cli.main import main
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.synthesis.command_corpus import synthesize_commands
from deepspeech2.decoding.words import Word
from deepspeech2.inference import demo as pages
from deepspeech2.inference.demo import NOT_CALIBRATED, build_page, load_demo_model, recognise, serve, short_names
from deepspeech2.inference.space import write_space
from deepspeech2.inference.voice_commands.recognition import load_recogniser
from deepspeech2.model.loading import load_model

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "recipes" / "quickstart" / "starter"
MODEL = Path(os.environ.get("DEMO_MODEL", STARTER)).resolve()
GRAMMAR = ROOT / "recipes" / "commands" / "home.yaml"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 240
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory) -> Path:
    """The starter; beside itself under another name, and hearing no vowels."""
    if MODEL != STARTER:
        return STARTER
    model, processor = load_model(str(STARTER))
    model.ctc_head.weight.data[processor.encode("aeiou")] = 0
    folder = tmp_path_factory.mktemp("models") / "other"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """A command of the grammar, said by a synthetic voice."""
    folder = tmp_path_factory.mktemp("speech")
    few = {f"num_{split}_speakers": 1 for split in ("train", "validation", "test")}
    minutes = {"minutes_train": 0.6, "minutes_validation": 0.05, "minutes_test": 0.05}
    corpus = synthesize_commands(folder, **minutes, **few, num_proc=1)
    recogniser = load_recogniser(*load_model(str(STARTER)), GRAMMAR)
    rows = [row for part in load_corpus(str(corpus), None, "train") for row in part.stream]
    row = next(row for row in rows if recogniser.parse(row["text"]))
    path = folder / "command.flac"
    path.write_bytes(row["audio"]["bytes"] or Path(row["audio"]["path"]).read_bytes())
    return path


@pytest.fixture(scope="module")
def page(other_model, tmp_path_factory) -> Iterator[str]:
    """`deepspeech2 demo`, served by itself; at its end nothing of what was said is left on the disk."""
    port, log = free_port(), tmp_path_factory.mktemp("log") / "log.txt"
    command = [
        sys.executable,
        "-m",
        "deepspeech2",
        "demo",
        str(MODEL),
        "--compare",
        str(other_model),
        "--port",
        str(port),
    ]
    command += ["--grammar", str(GRAMMAR), "--cpu_threads", "1"]
    temporary = tmp_path_factory.mktemp("temporary")
    environment = os.environ | {"TMPDIR": str(temporary)}
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        wait_for(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
        captions = [path for path in temporary.glob("captions-*/**/*") if path.is_file()]
        assert len(captions) <= 4, "those of earlier recordings are still there"
    finally:
        process.terminate()  # it ends as by Ctrl-C
        process.wait(60)
    assert "Traceback" not in log.read_text()
    # Gradio leaves empty files of uploads that it has moved.
    assert [path for path in temporary.rglob("*") if path.is_file() and path.stat().st_size] == []


@pytest.fixture(scope="module")
def browser(recording, tmp_path_factory):
    """Its microphone hears the recording again and again."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(heard, *soundfile.read(recording))
    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    options.append(f"--use-file-for-fake-audio-capture={heard}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


def picture(tab, name: str) -> None:
    if folder := os.environ.get("DEMO_PICTURES"):
        tab.wait_for_timeout(1000)
        tab.screenshot(path=str(ROOT / folder / f"page_{name}.png"), full_page=True)


@pytest.mark.slow
def test_a_recording_is_uploaded_heard_captioned_and_understood(browser, page, recording, tmp_path):
    tab = browser.new_page(viewport={"width": 900, "height": 640}, accept_downloads=True)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page)
    tab.set_input_files("#upload input[type=file]", str(recording))
    tab.wait_for_selector("#upload .file-preview")

    tab.click("#transcribe")
    tab.wait_for_selector("#files a[download='command.srt']", timeout=60_000)
    assert main(["transcribe", str(MODEL), str(recording), "--output_dir", str(tmp_path)]) == 0
    text = " ".join((tmp_path / "command.txt").read_text().split())
    assert " ".join(tab.inner_text("#words").split()) == text and len(text) > 5
    title = tab.get_attribute("#words .word", "title")
    assert re.fullmatch(r"\d\.\d\d to \d\.\d\d s, confidence [01]\.\d\d", title)
    for kind in ("srt", "vtt"):
        with tab.expect_download() as download:
            tab.click(f"#files a[download='command.{kind}']")
        assert Path(download.value.path()).read_text() == (tmp_path / f"command.{kind}").read_text()
    picture(tab, "words")

    tab.get_by_role("tab", name="Commands").click()
    tab.click("#recognise")
    tab.wait_for_selector("#command .result", timeout=60_000)
    model = load_demo_model(str(MODEL), grammar=GRAMMAR)
    command = recognise(model, str(recording))
    assert command.text in tab.inner_text("#command")
    assert ("rejected" in tab.inner_text("#command")) == (not command.accepted)
    picture(tab, "commands")

    tab.get_by_role("tab", name="Compare").click()
    tab.click("#compare")
    tab.wait_for_selector("#compared-1 .result", timeout=60_000)
    tab.wait_for_selector("#compared-1 :is(del, ins)", timeout=60_000)
    assert " ".join(tab.inner_text("#compared-0").split()) == text
    picture(tab, "compare")
    answer = tab.request.post(f"{page}/gradio_api/run/transcribe", data={"data": [None, None]})
    assert answer.status == 404 and "join the queue" in answer.text()  # nobody gets past it
    assert all(url.startswith((page, "blob:", "data:")) for url in asked), "the page asks others for something"
    tab.close()


def files_of(tab) -> list[str]:
    return [link.get_attribute("download") for link in tab.query_selector_all("#files a[download]")]


@pytest.mark.slow
def test_what_came_last_is_heard_of_the_microphone_and_the_file(browser, page, recording):
    tab = browser.new_page(permissions=["microphone"])
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page)
    for _ in range(2):
        tab.get_by_role("button", name="Record", exact=True).click()
        tab.wait_for_timeout(2500)
        tab.get_by_role("button", name="Stop", exact=True).click()
        tab.wait_for_selector("#record [aria-label='Trim audio to selection']")
        tab.wait_for_selector("#upload .file-preview", state="detached")  # the file before is gone
        tab.click("#transcribe")
        tab.wait_for_selector("#files a[download='audio.srt']", timeout=60_000)
        assert tab.query_selector("#words .word") is not None
        assert tab.query_selector("#record [aria-label='Share']") is None, "a button that sends it to the Hub"

        tab.set_input_files("#upload input[type=file]", str(recording))
        tab.wait_for_selector("#upload .file-preview")
        tab.get_by_role("button", name="Record", exact=True).wait_for()  # the recording before is gone
        tab.click("#transcribe")
        tab.wait_for_selector("#files a[download='command.srt']", timeout=60_000)
        assert not any(name.startswith("audio") for name in files_of(tab))
    assert all(url.startswith((page, "blob:", "data:")) for url in asked), "the page asks others for something"
    tab.close()


@pytest.mark.slow
def test_what_is_no_recording_is_said_in_the_place_of_the_words_before(browser, page, recording, tmp_path):
    tab = browser.new_page()
    tab.goto(page)
    tab.click("#transcribe")
    tab.wait_for_selector("#words :text-is('Record speech or upload a file first.')", timeout=60_000)
    tab.set_input_files("#upload input[type=file]", str(recording))
    tab.wait_for_selector("#upload .file-preview")
    tab.click("#transcribe")
    tab.wait_for_selector("#files a[download='command.srt']", timeout=60_000)
    (tmp_path / "no <b>notes.mp3").write_text("no sound")
    tab.click("#upload [aria-label='Clear']")
    tab.set_input_files("#upload input[type=file]", str(tmp_path / "no <b>notes.mp3"))
    tab.wait_for_selector("#upload .file-preview")
    tab.click("#transcribe")
    tab.wait_for_selector("#words .problem", timeout=60_000)
    text = tab.inner_text("#words")
    problem = r"'no b?notes.mp3' cannot be decoded after 0.0 s: it is text, which begins with 'no sound' \(8 bytes\)"
    assert re.fullmatch(problem, text), text  # whole, and without a folder
    assert tab.query_selector("#words .word, #cues td") is None and files_of(tab) == []
    tab.close()


@pytest.mark.slow
def test_nobody_is_transcribed_for_who_has_gone(browser, recording, monkeypatch):
    """A recording without end: its words are shown as they come, and no more are made once the page is closed."""
    state = {"phrases": 0, "over": False}

    def transcribe_phrases(listener, decoder, blocks):
        try:
            while True:
                state["phrases"] += 1
                time.sleep(0.1)
                yield [Word("on", 0.0, 1.0, 0.5)]
        finally:
            state["over"] = True

    monkeypatch.setattr(pages, "transcribe_phrases", transcribe_phrases)
    built = build_page([load_demo_model(str(STARTER))])
    built.launch(server_name="127.0.0.1", server_port=(port := free_port()), prevent_thread_lock=True, quiet=True)
    try:
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{port}")
        tab.set_input_files("#upload input[type=file]", str(recording))
        tab.wait_for_selector("#upload .file-preview")
        tab.click("#transcribe")
        tab.wait_for_selector("#words .word >> nth=4", timeout=60_000)
        tab.close()
        deadline = time.monotonic() + 60
        while not state["over"] and time.monotonic() < deadline:
            time.sleep(0.5)
        heard = state["phrases"]
        time.sleep(2)
        assert state["over"] or state["phrases"] == heard
    finally:
        built.close()


@pytest.mark.slow
def test_a_space_serves_the_page(tmp_path, recording):
    """Its own copy of the package and of the model, from another folder, as the Hub would start it."""
    space = tmp_path / "space"
    write_space(space, str(STARTER), grammar=GRAMMAR)
    port, log = free_port(), tmp_path / "log.txt"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=space, env=environment, stdout=file, stderr=file)
    try:
        wait_for(f"http://127.0.0.1:{port}", process, log)
        from gradio_client import Client, handle_file

        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        words, _, files = client.predict(None, handle_file(str(recording)), api_name="/transcribe")
        assert 'class="word"' in words and Path(files[0]).suffix == ".srt"
    finally:
        process.terminate()
        process.wait(60)


def test_the_page_says_whether_its_confidences_are_calibrated():
    """The starter's decoder.json has the two numbers for it."""
    texts = {
        decoder: str(build_page([load_demo_model(str(STARTER), decoder)]).get_config_file())
        for decoder in ("greedy", None)
    }
    assert NOT_CALIBRATED in texts["greedy"] and NOT_CALIBRATED not in texts[None]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["/a/starter"], ["starter"]),
        (["/a/one", "you/two"], ["one", "two"]),
        (["/a/x/checkpoint-100", "/a/y/checkpoint-100"], ["x/checkpoint-100", "y/checkpoint-100"]),
        (["/a/starter", "you/starter"], ["a/starter", "you/starter"]),
        (["/a/starter", "/a/starter"], ["starter", "starter"]),
    ],
)
def test_models_of_one_name_are_told_apart_and_no_more_of_a_path_is_shown(names, short):
    assert short_names(names) == short


def test_a_port_that_is_taken_is_said(tmp_path):
    model, processor = tiny.new_model()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    page = build_page([load_demo_model(str(tmp_path / "model"))])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot serve the page at 127.0.0.1:{port}: .*choose another --port"):
            serve(page, "127.0.0.1", port, share=False)
    with pytest.raises(ValueError, match=r"cannot serve the page at 127.0.0.1:99999: .*choose another --port"):
        serve(page, "127.0.0.1", 99999, share=False)


def test_a_proxy_of_the_environment_is_not_between_the_page_and_its_own_machine(tmp_path, monkeypatch):
    model, processor = tiny.new_model()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    page = build_page([load_demo_model(str(tmp_path / "model"))])
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "example.org")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    launch, port = page.launch, free_port()
    monkeypatch.setattr(page, "launch", lambda **options: launch(**options, prevent_thread_lock=True))
    serve(page, "127.0.0.1", port, share=False)
    assert os.environ["NO_PROXY"].startswith("example.org,localhost,127.0.0.1")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert b"gradio" in direct.open(f"http://127.0.0.1:{port}", timeout=20).read()
    page.close()
