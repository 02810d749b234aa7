"""A page to try a model on: record or upload, see the words, take the captions, give commands, compare two models.

>>> build_page([load_hearing("outputs/quickstart")]).launch()
"""

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .audio import AudioError
from .captions import Limits, Word, caption_files, make_cues
from .decoding import Decoder, load_decoder
from .listening import Listener
from .loading import load_model
from .markup import STYLE, command_html, cues_html, differences_html, words_html
from .media import BLOCK_S, read_blocks
from .recognition import Command, CommandRecogniser, load_recogniser
from .transcription import hear_words

if TYPE_CHECKING:
    import gradio

Progress = Callable[..., Any]
MAX_COMMAND_BLOCKS = 6
MAX_FILE = "2gb"
NOTHING = "Record something, or choose a file."


@dataclass(frozen=True)
class Hearing:
    """A model by its name, and what makes words and commands of what it hears."""

    name: str
    listener: Listener
    decoder: Decoder
    recogniser: CommandRecogniser | None = None


def load_hearing(
    model: str, decoder: Path | None = None, grammar: Path | None = None, acceptance: Path | None = None
) -> Hearing:
    """
    Args:
        model: a checkpoint's folder, or its id on the Hub.
        decoder: a decoder.json; None: greedy.
        grammar: a YAML file of commands, with `acceptance`, the commands.json of recipes/commands/calibrate.py.
    """
    loaded, processor = load_model(model)
    loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Hearing(
        Path(model).name,
        Listener(loaded, processor),
        load_decoder(loaded, processor, decoder),
        load_recogniser(loaded, processor, grammar, acceptance) if grammar else None,
    )


def import_gradio() -> Any:
    """
    Raises:
        ImportError: it is not installed; says how.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f"{error}; the page is made by Gradio: pip install -e '.[demo]'") from None
    return gradio


def hear(hearing: Hearing, recording: str | None, progress: Progress | None = None) -> list[Word]:
    """
    The words of a recording.

    Raises:
        AudioError: none was given, or it cannot be read.
    """
    if not recording:
        raise AudioError(NOTHING, "missing_file")
    blocks = _counted(read_blocks(Path(recording), hearing.listener.sampling_rate), hearing, progress)
    return hear_words(hearing.listener, hearing.decoder, blocks)


def _counted(blocks: Iterable[np.ndarray], hearing: Hearing, progress: Progress | None) -> Iterator[np.ndarray]:
    samples = 0
    for block in blocks:
        yield block
        samples += len(block)
        if progress is not None:
            progress((round(samples / hearing.listener.sampling_rate), None), unit="s heard")


def write_captions(words: Sequence[Word], recording: str, folder: Path, about: dict[str, object]) -> list[str]:
    """The files of a recording's captions, named like it."""
    paths = []
    for kind, text in caption_files(words, make_cues(words, Limits()), about).items():
        paths.append(folder / f"{Path(recording).stem}.{kind}")
        paths[-1].write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


def build_page(hearings: Sequence[Hearing]) -> "gradio.Blocks":
    """
    Args:
        hearings: one model, or two to be compared; the first one's words are shown and captioned, its grammar, if it
            has one, is listened for.
    """
    gradio = import_gradio()
    first = hearings[0]
    shown = gradio.Progress()  # Gradio looks for it among the defaults of what it calls
    captions = tempfile.TemporaryDirectory(prefix="captions-")  # gone with the page

    def transcribe(recorded: str | None, uploaded: str | None, progress: Any = shown) -> tuple:
        recording = recorded or uploaded
        words = hear(first, recording, progress)
        about: dict[str, object] = {"model": first.name, "source": Path(str(recording)).name}
        files = write_captions(words, str(recording), Path(tempfile.mkdtemp(dir=captions.name)), about)
        return words_html(words), cues_html(make_cues(words, Limits())), files

    def compare(recorded: str | None, uploaded: str | None, progress: Any = shown) -> tuple:
        texts = [[word.text for word in hear(one, recorded or uploaded, progress)] for one in hearings]
        return differences_html(texts[0], texts[0]), differences_html(*texts)

    said = _errors_on_the_page(gradio)

    def command(recorded: str | None, uploaded: str | None) -> str:
        assert first.recogniser is not None
        return command_html(recognise(first, recorded or uploaded))

    title = " and ".join(one.name for one in hearings)
    forget = (3600, 24 * 3600)  # each hour, the recordings and captions of a day ago
    with gradio.Blocks(title=f"DeepSpeech2: {title}", analytics_enabled=False, delete_cache=forget) as page:
        gradio.Markdown(f"# Speech to text by {_plain(title)}\nDeepSpeech2, {_size(first)}")
        with gradio.Row():
            recorded = gradio.Audio(sources=["microphone"], type="filepath", label="Record", elem_id="record")
            uploaded = gradio.File(type="filepath", label="Or an audio or video file", elem_id="upload")
        with gradio.Tab("Words and captions"):
            button = gradio.Button("Transcribe", variant="primary", elem_id="transcribe")
            words = gradio.HTML(label="Words", elem_id="words")
            gradio.Markdown(
                "Red words are doubtful, green ones are sure; a word's times are shown where the pointer rests."
            )
            cues = gradio.HTML(label="Captions", elem_id="cues")
            files = gradio.File(label="Captions", file_count="multiple", interactive=False, elem_id="files")
            button.click(said(transcribe), [recorded, uploaded], [words, cues, files], concurrency_id="model")
        if first.recogniser is not None:
            with gradio.Tab("Commands"):
                button = gradio.Button("Recognise", variant="primary", elem_id="recognise")
                heard = gradio.HTML(label="Command", elem_id="command")
                names = ", ".join(map(_plain, first.recogniser.grammar.commands))
                gradio.Markdown(f"The grammar has the commands {names}.")
                button.click(said(command), [recorded, uploaded], heard, concurrency_id="model")
        if len(hearings) > 1:
            with gradio.Tab("Compare"):
                button = gradio.Button("Compare", variant="primary", elem_id="compare")
                columns: list[Any] = []
                with gradio.Row():
                    for one in hearings:
                        with gradio.Column():
                            gradio.Markdown(f"**{_plain(one.name)}**")
                            columns.append(gradio.HTML(elem_id=f"compared-{len(columns)}"))
                button.click(said(compare), [recorded, uploaded], columns, concurrency_id="model")
    return page.queue(default_concurrency_limit=1)  # the model hears one recording at a time; the next ones wait


def _look(gradio: Any) -> dict[str, Any]:
    """Fonts of the reader's machine: none is fetched."""
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return {"css": STYLE, "theme": theme, "footer_links": []}


def serve(page: "gradio.Blocks", host: str, port: int, share: bool) -> None:
    """
    Until Ctrl-C.

    Raises:
        ValueError: the port is taken.
    """
    try:
        page.launch(server_name=host, server_port=port, share=share, max_file_size=MAX_FILE, **_look(import_gradio()))
    except OSError as error:
        raise ValueError(f"{host}:{port} cannot be served: {error}; name another --port") from error


def serve_space(page: "gradio.Blocks") -> None:
    """Where a Space, or GRADIO_SERVER_PORT, says."""
    page.launch(max_file_size=MAX_FILE, **_look(import_gradio()))


def recognise(hearing: Hearing, recording: str | None) -> Command:
    """
    The command of a recording of up to a minute.

    Raises:
        AudioError: none was given, it cannot be read, or lasts longer.
    """
    if not recording:
        raise AudioError(NOTHING, "missing_file")
    assert hearing.recogniser is not None
    rate = hearing.listener.sampling_rate
    blocks = list(islice(read_blocks(Path(recording), rate), MAX_COMMAND_BLOCKS + 1))
    if len(blocks) > MAX_COMMAND_BLOCKS:
        raise AudioError(
            f"the recording is longer than {MAX_COMMAND_BLOCKS * BLOCK_S:.0f} s; a command is short", "long"
        )
    return hearing.recogniser.recognise(hearing.listener.whole(blocks).numpy())


def _errors_on_the_page(gradio: Any) -> Callable[[Callable], Callable]:
    """Wraps what is called by a button: a recording that cannot be read is said to the reader, not to the log."""

    def wrap(work: Callable) -> Callable:
        @functools.wraps(work)  # with its signature: Gradio fills in the progress
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return work(*args, **kwargs)
            except AudioError as error:
                text = str(error)
                for path in filter(None, args):  # where it lies here is nobody's business
                    text = text.replace(str(path), Path(path).name)
                raise gradio.Error(text, duration=None, print_exception=False) from error

        return wrapped

    return wrap


def _plain(text: str) -> str:
    """A name for Markdown: none of its characters means anything."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()<>#+-.!|~" else character for character in text)


def _size(hearing: Hearing) -> str:
    return f"{hearing.listener.model.num_parameters() / 1e6:.1f} M parameters"
