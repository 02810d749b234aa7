"""A demo page: record or upload speech, see the words, download captions, give commands, compare two models.

>>> build_page([load_demo_model("outputs/quickstart")]).launch()
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.audio.recordings import AudioError
from ..decoding.decoder import Decoder, load_decoder
from ..decoding.words import Word
from ..model.loading import load_model
from ..system.devices import choose_device
from .captions import Cue, Limits, caption_files, make_cues
from .long_form import Listener
from .markup import command_html, cues_html, differences_html, problem_html, words_html
from .media import read_blocks
from .transcription import transcribe_phrases
from .voice_commands.recognition import GRAMMAR_NAME, Command, CommandRecogniser, find_commands, load_recogniser
from .voice_commands.utterances import recognise_recording

if TYPE_CHECKING:
    import gradio

Progress = Callable[..., Any]
NOTHING = "Record speech or upload a file first."
NOT_CALIBRATED = "These confidences are not calibrated on real speech, so they are usually too high."


@dataclass(frozen=True)
class DemoModel:
    """A model for the page: its path or Hub id, and what turns its output into words and commands."""

    name: str
    listener: Listener
    decoder: Decoder
    recogniser: CommandRecogniser | None = None


def load_demo_model(
    model: str,
    decoder: str | Path | None = None,
    grammar: Path | None = None,
    acceptance: Path | None = None,
    device: torch.device | None = None,
) -> DemoModel:
    """
    Load a model for the page.

    Args:
        model: the folder of a checkpoint, or its id on the Hub.
        decoder: as for `load_decoder`.
        grammar: a YAML grammar of voice commands. None takes that beside the model, if there is one.
        acceptance: the commands.json of recipes/commands/calibrate.py. None takes that beside the model if it is for
            the same grammar, else the default rejection threshold.
        device: the device of the model. None uses a GPU if there is one.
    """
    loaded, processor = load_model(model)
    loaded.eval().to(device or choose_device("auto"))
    recogniser = None
    if grammar or (Path(loaded.name_or_path or "") / GRAMMAR_NAME).is_file():
        commands = find_commands(loaded.name_or_path, grammar, acceptance)
        recogniser = load_recogniser(loaded, processor, *commands)
    return DemoModel(
        Path(model).resolve().as_posix() if Path(model).is_dir() else model,
        Listener(loaded, processor),
        load_decoder(loaded, processor, decoder),
        recogniser,
    )


def import_gradio() -> Any:
    """
    Import Gradio.

    Raises:
        ImportError: Gradio is not installed. The message says how to install it.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f"{error}; the page needs Gradio: pip install 'gradio>=6.31,<7' av==18.1.0") from None
    return gradio


def phrases_of(model: DemoModel, recording: str | None, progress: Progress | None = None) -> Iterator[list[Word]]:
    """
    Yield the words of a recording, phrase by phrase.

    Raises:
        AudioError: there is no recording, or it cannot be read.
    """
    if not recording:
        raise AudioError(NOTHING, "missing_file")
    blocks = _counted(read_blocks(Path(recording), model.listener.sampling_rate), model, progress)
    return transcribe_phrases(model.listener, model.decoder, blocks)


def _counted(blocks: Iterable[np.ndarray], model: DemoModel, progress: Progress | None) -> Iterator[np.ndarray]:
    samples = 0
    for block in blocks:
        yield block
        samples += len(block)
        if progress is not None:
            progress((round(samples / model.listener.sampling_rate), None), unit="s transcribed")


def write_captions(
    words: Sequence[Word], cues: Sequence[Cue], recording: str, folder: Path, about: dict[str, object]
) -> list[str]:
    """Write the captions of a recording to files with its name, and return their paths."""
    paths = []
    for kind, text in caption_files(words, cues, about).items():
        paths.append(folder / f"{Path(recording).stem}.{kind}")
        paths[-1].write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


LATEST = 200  # words on the page during the transcription
MAX_HEIGHT = 400  # pixels of the results, which scroll, so that the files below them stay in view


def build_page(models: Sequence[DemoModel]) -> "gradio.Blocks":
    """
    Build the page.

    Args:
        models: one model, or two to compare. Words, captions and commands come from the first one.
    """
    gradio = import_gradio()
    first, names = models[0], short_names([one.name for one in models])
    shown = gradio.Progress()  # Gradio looks for it in the default arguments of a function
    captions = tempfile.TemporaryDirectory(prefix="captions-")  # deleted with the page
    guarded = _problems_on_the_page

    # Long functions yield intermediate results, at which Gradio stops them if the reader has left.
    @guarded(empty=("", None))
    def transcribe(recorded: str | None, uploaded: str | None, progress: Any = shown) -> Iterator[tuple]:
        recording = recorded or uploaded
        words: list[Word] = []
        for phrase in phrases_of(first, recording, progress):
            words += phrase
            yield words_html(words[-LATEST:]), "", None
        about: dict[str, object] = {"model": names[0], "source": Path(str(recording)).name}
        for older in Path(captions.name).iterdir():  # Gradio has its own copies
            shutil.rmtree(older)
        cues = make_cues(words, Limits())
        files = write_captions(words, cues, str(recording), Path(tempfile.mkdtemp(dir=captions.name)), about)
        yield words_html(words), cues_html(cues), files

    @guarded(empty=("",))
    def compare(recorded: str | None, uploaded: str | None, progress: Any = shown) -> Iterator[tuple]:
        texts: list[list[str]] = [[] for _ in models]
        for text, one in zip(texts, models, strict=True):
            for phrase in phrases_of(one, recorded or uploaded, progress):
                text += [word.text for word in phrase]
                yield tuple(differences_html(some[-LATEST:], some[-LATEST:]) for some in texts)
        yield differences_html(texts[0], texts[0]), differences_html(*texts)

    @guarded()
    def command(recorded: str | None, uploaded: str | None) -> Iterator[str]:
        assert first.recogniser is not None
        yield command_html(recognise(first, recorded or uploaded))

    title = " and ".join(names)
    forget = (3600, 24 * 3600)  # each hour, delete recordings and captions older than a day
    with gradio.Blocks(title=f"DeepSpeech2: {title}", analytics_enabled=False, delete_cache=forget) as page:
        gradio.Markdown(f"# Speech to text with {_plain(title)}\nDeepSpeech2, {_size(first)}")
        with gradio.Row():
            recorded = gradio.Audio(
                sources=["microphone"],
                type="filepath",
                label="Record",
                elem_id="record",
                buttons=["download"],  # the share button would publish the recording on the Hub
            )
            uploaded = gradio.File(type="filepath", label="Or upload an audio or video file", elem_id="upload")
        # A new recording clears the upload, and an upload clears the recording.
        recorded.stop_recording(None, None, uploaded, js="() => null")
        uploaded.upload(None, None, recorded, js="() => null")
        with gradio.Tab("Words and captions"):
            button = gradio.Button("Transcribe", variant="primary", elem_id="transcribe")
            words = gradio.HTML(label="Words", elem_id="words", max_height=MAX_HEIGHT)
            gradio.Markdown(
                "Green words have a high confidence, red words a low one. Point at a word to see its times. "
                + ("" if first.decoder.options.calibration else NOT_CALIBRATED)
            )
            cues = gradio.HTML(label="Captions", elem_id="cues", max_height=MAX_HEIGHT)
            files = gradio.File(label="Captions", file_count="multiple", interactive=False, elem_id="files")
            button.click(transcribe, [recorded, uploaded], [words, cues, files], concurrency_id="model")
        if first.recogniser is not None:
            with gradio.Tab("Commands"):
                button = gradio.Button("Recognise", variant="primary", elem_id="recognise")
                result = gradio.HTML(label="Command", elem_id="command")
                commands = ", ".join(map(_plain, first.recogniser.grammar.commands))
                gradio.Markdown(f"Commands of the grammar: {commands}.")
                button.click(command, [recorded, uploaded], result, concurrency_id="model")
        if len(models) > 1:
            with gradio.Tab("Compare"):
                button = gradio.Button("Compare", variant="primary", elem_id="compare")
                columns: list[Any] = []
                with gradio.Row():
                    for name in names:
                        with gradio.Column():
                            gradio.Markdown(f"**{_plain(name)}**")
                            columns.append(gradio.HTML(elem_id=f"compared-{len(columns)}", max_height=MAX_HEIGHT))
                button.click(compare, [recorded, uploaded], columns, concurrency_id="model")
    # The model processes one recording at a time. All others wait in the queue.
    return page.queue(default_concurrency_limit=1, api_open=False)


def short_names(names: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths that differ. For the same path twice it is the last part."""
    parts = [name.split("/") for name in names]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(one[-count:]) for one in parts]
        if len(set(short)) == len(short):
            return short
    return [one[-1] for one in parts]


STYLE = """
#words, #cues { min-height: 5em; }
.result { line-height: 2; font-size: 1.05em; }
.result .word { border-radius: 0.3em; padding: 0.1em 0.25em; color: #20242c; }
.result del { background: #f3c9c4; color: #20242c; text-decoration: line-through; padding: 0 0.2em; }
.result ins { background: #cfe6cd; color: #20242c; text-decoration: none; padding: 0 0.2em; }
.result.problem { border-left: 0.3em solid #c0392b; padding-left: 0.6em; overflow-wrap: anywhere; }
.cues, .cues tr { border-collapse: collapse; border: none !important; }
.cues td { padding: 0.2em 0.8em 0.2em 0; vertical-align: top; white-space: pre-line; border: none !important; }
.cues .time { font-variant-numeric: tabular-nums; opacity: 0.7; white-space: nowrap; }
"""
MAX_FILE = "2gb"  # of an upload


def _look(gradio: Any) -> dict[str, Any]:
    """Return style and theme. The fonts are those of the reader's machine, so none is downloaded."""
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return {"css": STYLE, "theme": theme, "footer_links": []}


def serve(page: "gradio.Blocks", host: str, port: int, share: bool) -> None:
    """
    Serve the page until Ctrl-C.

    Args:
        host: address to listen on.
        port: port to listen on.
        share: whether Gradio also publishes the page under a public address.

    Raises:
        ValueError: the port is taken or invalid, or the host is not an address of this machine.
    """
    _reach_directly(host)
    try:
        page.launch(server_name=host, server_port=port, share=share, max_file_size=MAX_FILE, **_look(import_gradio()))
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot serve the page at {host}:{port}: the port is taken, or the host is not an address of this "
            "machine; choose another --port or --host"
        ) from error


def _reach_directly(host: str) -> None:
    """Except this machine from the proxies of the environment, because Gradio opens its own page once."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))


def serve_space(page: "gradio.Blocks") -> None:
    """Serve the page at the address of a Space, or at GRADIO_SERVER_PORT."""
    page.launch(max_file_size=MAX_FILE, **_look(import_gradio()))


def recognise(model: DemoModel, recording: str | None) -> Command:
    """
    Recognise the command in a recording of up to a minute.

    Raises:
        AudioError: there is no recording, it cannot be read, or it is longer.
    """
    if not recording:
        raise AudioError(NOTHING, "missing_file")
    assert model.recogniser is not None
    return recognise_recording(model.listener, model.recogniser, Path(recording))


def _problems_on_the_page(empty: tuple = ()) -> Callable[[Callable], Callable]:
    """
    Decorate the function of a button, so that an error of a recording appears instead of its results.

    Args:
        empty: the values of the other outputs in this case.
    """

    def wrap(work: Callable) -> Callable:
        @functools.wraps(work)  # keeps the signature, which tells Gradio to pass the progress
        def wrapped(recorded: str | None, uploaded: str | None, *others: Any) -> Iterator[Any]:
            try:
                yield from work(recorded, uploaded, *others)
            except AudioError as error:
                text = str(error)
                for path in filter(None, (recorded, uploaded)):  # do not show paths of the server
                    text = text.replace(path, Path(path).name)
                problem = problem_html(text)
                yield (problem, *empty) if empty else problem

        return wrapped

    return wrap


def _plain(text: str) -> str:
    """Escape a name for Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()<>#+-.!|~&$" else character for character in text)


def _size(model: DemoModel) -> str:
    return f"{model.listener.model.num_parameters() / 1e6:.1f} M parameters"
