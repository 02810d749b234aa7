"""Reports open without a network, show the right figures and survive odd results."""

import pytest

from deepspeech2.evaluation.metrics import Scores, Utterance, compare, score
from deepspeech2.evaluation.reports import results_table, write_run_report, write_score_report
from deepspeech2.evaluation.reports.page import mark_words
from deepspeech2.evaluation.reports.plots import draw_figure, error_rate_bars, to_svg, training_curves, wer_by
from html_pages import page

REFERENCES = {
    "anna-1": "turn the light on",
    "anna-2": "stop the music",
    "ben-1": "close <every> window & door",
    "ben-2": "what is the time",
}
LOG = [
    {"loss": 3.0, "learning_rate": 1e-3, "audio_s_per_s": 50.0, "step": 10, "epoch": 0.5},
    {"eval_loss": 2.5, "eval_wer": 0.75, "eval_cer": 0.5, "step": 10},
    {"loss": float("nan"), "learning_rate": 5e-4, "audio_s_per_s": 52.0, "step": 20, "epoch": 1.0},
    {"eval_loss": 2.0, "eval_wer": 0.5, "eval_cer": 0.25, "step": 20},
    {"train_runtime": 9.0, "total_flos": 1.0, "step": 20},
]


def scores_of(**heard: str) -> Scores:
    """Everything heard right but what is given, by id with "_" for "-"."""
    given = {name.replace("_", "-"): text for name, text in heard.items()}
    return score([Utterance(name, name[:-2], 2.0, text, given.get(name, text)) for name, text in REFERENCES.items()])


pytestmark = pytest.mark.usefixtures("rendered")
BEFORE = scores_of(anna_1="turn lamp on", anna_2="", ben_1="close very window & door please", ben_2="what")
AFTER = scores_of(ben_1="close <every> window & floor", anna_2="top the music")


def test_run_report(tmp_path):
    path = write_run_report(
        tmp_path / "report",
        title="Commands & more",
        command="accelerate launch recipes/finetune.py --output_dir 'a b'",
        log_history=LOG,
        results={"before": {"test": BEFORE}, "after": {"test": AFTER}, "random": {"test": BEFORE}},
        config={"learning_rate": 1e-3, "splits": ["train"]},
        facts={"hardware": "2 CPU cores"},
    )
    text = page(path)
    assert path == tmp_path / "report" / "index.html"
    assert "Commands &amp; more" in text
    # 16 words: before 2 + 3 + 2 + 3 wrong, after 1 + 1
    assert "WER <b>62.50 → 12.50 %</b> on test: 4 utterances of 2 speakers" in text
    assert text.index("<svg") < text.index("<table")
    assert "accelerate launch recipes/finetune.py --output_dir &#39;a b&#39;" in text
    assert "learning_rate" in text and "2 CPU cores" in text
    assert text.count("<svg") == 1 + 4
    for name in ("results.png", "training.png"):
        assert (path.parent / name).read_bytes().startswith(b"\x89PNG")


def test_run_report_of_one_stage_that_was_not_trained(tmp_path):
    results = {"as it is": {"other/test": AFTER, "validation": score(list(AFTER.utterances)[:1])}}
    text = page(write_run_report(tmp_path, title="One", command="x", log_history=[], results=results, config={}))
    assert "WER <b>12.50 %</b> on other/test" in text
    assert "Training" not in text and not (tmp_path / "training.png").exists()


def test_run_report_needs_results(tmp_path):
    with pytest.raises(ValueError, match="at least one stage"):
        write_run_report(tmp_path, title="", command="", log_history=[], results={"before": {}}, config={})


def test_pictures_are_reproducible():
    first, second = (to_svg(error_rate_bars({"after": {"test": AFTER}}), "WER") for _ in range(2))
    assert first == second


def test_score_report_with_a_comparison(tmp_path):
    path = write_score_report(
        tmp_path, AFTER, title="Test", command="python recipes/score.py", rtfx=41.25, comparison=compare(BEFORE, AFTER)
    )
    text = page(path)
    assert "The WER changes by −50.00 points against the baseline. The 95 % interval excludes zero" in text
    assert "WER <b>12.50 %</b> on 4 utterances of 2 speakers" in text
    assert "41.2" in text
    assert '<ruby class="sub">floor<rt>door</rt></ruby>' in text
    assert "&lt;every&gt;" in text and "<every>" not in text
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", "score.png", "errors.png"}


def test_score_report_without_speakers_errors_or_speed(tmp_path):
    perfect = score([Utterance(str(n), "", 0.0, "a b", "a b") for n in range(3)])
    text = page(write_score_report(tmp_path, perfect, title="Perfect", command="x"))
    assert "unknown speakers" in text and "resampled by utterance" in text
    assert "RTFx" not in text and "Comparison with the baseline" not in text
    assert "WER by speaker" not in text


def test_score_report_of_silence_alone(tmp_path):
    silent = score([Utterance("1", "x", 1.0, "", "noise"), Utterance("2", "y", 1.0, "", "")])
    assert "∞" in page(write_score_report(tmp_path, silent, title="Silence", command="x"))


def test_many_speakers_are_not_named():
    many = score([Utterance(str(n), f"s{n}", 1.0, "a b c", "a b" if n % 3 else "a b c") for n in range(60)])
    draw, height = wer_by("speaker", many)
    picture = to_svg(draw_figure(draw, height), "WER by speaker")
    assert "60 values, best first" in picture and "s59" not in picture


def test_what_a_page_shows_is_text(tmp_path):
    """Ids, speakers and transcripts that are HTML, or formulas to matplotlib."""
    evil = "<script>alert(1)</script>"
    said = [Utterance(f"{evil}{n}", f"$x_{{{n}$ {evil}", 1.0, f"{evil} & co", f"<img src=x onerror={n}>") for n in "ab"]
    text = page(write_score_report(tmp_path / "score", score(said), title=evil, command=f"x '{evil}'"))
    run = {"a": {evil: score(said)}}
    text += page(
        write_run_report(tmp_path / "run", title=evil, command=evil, log_history=LOG, results=run, config={evil: evil})
    )
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text


def test_marked_words_are_escaped():
    [utterance] = score([Utterance("1", "", 1.0, "a <b> c", "a <i> c & d")]).utterances
    marked = mark_words(utterance)
    assert marked == ('a <ruby class="sub">&lt;i&gt;<rt>&lt;b&gt;</rt></ruby> c <ins>&amp;</ins> <ins>d</ins>')
    [silent] = score([Utterance("1", "", 1.0, "", "")]).utterances
    assert "nothing" in mark_words(silent)


def test_curves_take_what_the_log_has():
    assert list(training_curves(LOG)) == ["Loss", "WER, %", "Learning rate", "Audio seconds per second"]
    assert list(training_curves([{"eval_clean_wer": 0.5, "step": 1}, {"grad_norm": 2.0, "step": 1}])) == ["WER, %"]
    assert training_curves([]) == {}


def test_results_table():
    lines = results_table({"before": {"test": BEFORE}, "after": {"test": AFTER, "one": score(AFTER.utterances[:1])}})
    header, rule, *rows = lines.splitlines()
    assert header == "| stage | split | WER % | 95 % interval | CER % | 95 % interval | utterances | speakers |"
    assert rule.count("---:") == 6
    assert rows[0].startswith("| before | test | 62.50 | ")
    assert rows[1].startswith("| after | test | 12.50 | ")
    assert rows[2] == "| after | one | 0.00 | – | 0.00 | – | 1 | 1 |"
