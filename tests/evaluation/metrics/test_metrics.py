"""WER arithmetic, intervals by speaker, the paired comparison and the `evaluate` module."""

import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

import deepspeech2.evaluation.metrics
from deepspeech2.evaluation.metrics import Utterance, compare, load_metric, score
from deepspeech2.evaluation.metrics.bootstrap import clusters_of, percentile_interval, rates, resample

FOLDER = Path(deepspeech2.evaluation.metrics.__file__).parent


@pytest.fixture(autouse=True)
def evaluate(monkeypatch) -> Any:
    """A metric that is not collected yet holds its file. The next one would wait a second, and then take another."""
    import evaluate  # for seconds, which a process that runs other files does not need

    monkeypatch.setattr(evaluate.EvaluationModule._create_cache_file, "__defaults__", (0.0,))
    return evaluate


def said(reference: str, hypothesis: str, speaker: str = "", id: str = "u", duration_s: float = 1.0) -> Utterance:
    return Utterance(id, speaker, duration_s, reference, hypothesis)


def corpus(right: dict[str, list[int]], words: int = 10) -> list[Utterance]:
    """Utterances of `words` words; the numbers say how many each utterance of a speaker gets right."""
    return [
        said(
            " ".join(["yes"] * words),
            " ".join(["yes"] * count + ["no"] * (words - count)),
            speaker,
            f"{speaker}-{n}",
        )
        for speaker, counts in right.items()
        for n, count in enumerate(counts)
    ]


def test_the_corpus_rate_sums_errors_before_it_divides():
    scores = score(
        [
            said("turn the light on", "turn the lamp on", id="a"),  # 1 substitution of 4
            said("stop", "please stop now", id="b"),  # 2 insertions, 1 word
            said("a b c d e", "a c d e", id="c"),  # 1 deletion of 5
        ]
    )
    assert (scores.substitutions, scores.deletions, scores.insertions, scores.hits) == (1, 1, 2, 3 + 1 + 4)
    assert scores.num_words == 4 + 1 + 5
    assert scores.wer == 4 / 10
    # light -> lamp: 3 substitutions, 1 deletion; "please " and " now": 7 + 4 insertions; "b ": 2 deletions
    assert scores.cer == (4 + 11 + 2) / (17 + 4 + 9)
    assert scores.audio_s == 3.0
    assert [utterance.wer for utterance in scores.utterances] == [1 / 4, 2 / 1, 1 / 5]


def test_alignment_names_every_word():
    [utterance] = score([said("the cat sat on mats", "oh the cat sit on")]).utterances
    assert utterance.alignment == (
        ("insertion", "", "oh"),
        ("hit", "the", "the"),
        ("hit", "cat", "cat"),
        ("substitution", "sat", "sit"),
        ("hit", "on", "on"),
        ("deletion", "mats", ""),
    )


def test_white_space_is_not_text():
    assert score([said("  a   b ", "a b")]).cer == 0.0


@pytest.mark.parametrize(
    ("pairs", "wer", "insertions"),
    [
        ([("", "")], 0.0, 0),
        ([("", "a b")], math.inf, 2),
        ([("a", "")], 1.0, 0),
        ([("", "x y"), ("a b c d", "a b c d")], 2 / 4, 2),
        ([("", ""), ("a b", "a")], 1 / 2, 0),
    ],
)
def test_empty_texts_follow_the_contract(pairs, wer, insertions):
    scores = score([said(*pair, id=str(n)) for n, pair in enumerate(pairs)])
    assert (scores.wer, scores.insertions) == (wer, insertions)
    json.dumps(scores.to_dict(), allow_nan=False)


def test_no_utterances_is_an_error():
    with pytest.raises(ValueError, match="no utterances"):
        score([])


def test_resampling_adds_up_whole_clusters():
    sums = np.array([[1, 10], [2, 10], [40, 100]])
    drawn = resample(sums, np.array([0, 0, 1]), samples=500, seed=0)
    # two clusters, (3, 20) and (40, 100): a draw of two has one of three sums
    assert {tuple(row) for row in drawn.tolist()} == {(6, 40), (43, 120), (80, 200)}
    assert np.mean(drawn[:, 1] == 120) == pytest.approx(1 / 2, abs=0.07)


def test_blocks_do_not_change_the_draw(monkeypatch):
    sums, clusters = np.arange(20).reshape(10, 2), np.arange(10)
    whole = resample(sums, clusters, 50, seed=3)
    monkeypatch.setattr("deepspeech2.evaluation.metrics.bootstrap._MAX_BLOCK", 70)
    assert np.array_equal(whole, resample(sums, clusters, 50, seed=3))


def test_interval_is_over_speakers():
    # a speaker's utterances are alike: by utterance the interval is narrow; two speakers give 0.1, 0.5, 0.9
    scores = score(corpus({"anna": [9] * 50, "ben": [1] * 50}))
    assert (scores.resampled_by, scores.num_speakers) == ("speaker", 2)
    assert scores.wer == pytest.approx(0.5)
    assert scores.wer_interval == pytest.approx((0.1, 0.9))
    alone = score([said(u.reference, u.hypothesis, id=u.id) for u in corpus({"anna": [9] * 50, "ben": [1] * 50})])
    assert (alone.resampled_by, alone.num_speakers) == ("utterance", 0)
    assert 0.35 < alone.wer_interval[0] < 0.5 < alone.wer_interval[1] < 0.65


@pytest.mark.parametrize(
    ("speakers", "unit"),
    [(["a", "b"], "speaker"), (["a", "a"], "utterance"), (["a", ""], "utterance"), (["a"], "nothing")],
)
def test_what_is_resampled(speakers, unit):
    assert clusters_of(speakers)[0] == unit


def test_without_an_interval_it_says_so():
    one = score([said("a b", "a")])
    assert (one.wer_interval, one.cer_interval, one.resampled_by, one.bootstrap_samples) == (
        None,
        None,
        "nothing",
        0,
    )
    none = score(corpus({"anna": [9], "ben": [1]}), bootstrap_samples=0)
    assert (none.wer_interval, none.resampled_by) == (None, "nothing")
    assert "95 %" not in none.summary()


def test_the_interval_covers_the_truth():
    # 40 speakers whose rates lie around 0.3: of 400 such corpora 95 %, give or take 3, should have 0.3 inside
    rng, speakers, words = np.random.default_rng(0), np.arange(40), np.full(40, 200)
    held = 0
    for draw in range(400):
        errors = rng.binomial(200, np.clip(rng.normal(0.3, 0.15, 40), 0, 1))
        sums = np.stack([errors, words], axis=1)
        low, high = percentile_interval(rates(*resample(sums, speakers, 1000, seed=draw).T))
        held += low <= 0.3 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_infinite_rates_have_an_interval():
    scores = score([said("", "a", "x", "1"), said("a", "a", "y", "2")])
    assert scores.wer_interval == (0.0, math.inf)
    assert scores.to_dict()["wer_interval"] == [0.0, None]


def test_groups_count_their_own():
    utterances = corpus({"anna": [9, 7], "ben": [1]})
    scores = score(utterances, groups={"room": ["kitchen", "hall", "hall"]})
    assert list(scores.groups) == ["room", "speaker"]
    assert scores.groups["room"]["hall"].wer == (3 + 9) / 20
    assert scores.groups["speaker"]["anna"].num_utterances == 2
    assert scores.groups["speaker"]["anna"].words.errors == 1 + 3
    assert scores.to_dict()["groups"]["speaker"]["ben"]["wer"] == 9 / 10
    with pytest.raises(ValueError, match="'room' has 1 values for 3 utterances"):
        score(utterances, groups={"room": ["kitchen"]})


def test_same_seed_same_interval():
    utterances = corpus({name: [n] for n, name in enumerate("abcdefgh")})
    assert score(utterances, seed=5) == score(utterances, seed=5)
    assert score(utterances, seed=5).wer_interval[0] >= 3 / 10


def test_to_dict_and_summary():
    scores = score(corpus({"anna": [9, 7], "ben": [1]}))
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["num_words"] == 30
    assert scores.summary().startswith("WER 43.33 % (20.00 to 90.00)")
    assert "\n" not in scores.summary()
    assert scores.utterances[0].to_dict()["hits"] == 9


def test_comparison_is_paired():
    # b fixes one word in each utterance of ten unequal speakers: every resample has the same difference
    a = score(corpus({str(n): [n % 8] for n in range(10)}))
    b = score(corpus({str(n): [n % 8 + 1] for n in range(10)})[::-1])
    comparison = compare(a, b)
    assert comparison.wer_difference == pytest.approx(-1 / 10)
    assert comparison.wer_interval == pytest.approx((-1 / 10, -1 / 10))
    assert (comparison.fixed, comparison.broken) == (10, 0)
    assert (comparison.share_better, comparison.share_worse) == (1.0, 0.0)
    assert comparison.p_value == 2 / 1000  # no resample can show less than one in all
    assert a.wer_interval[1] > b.wer  # the unpaired intervals overlap
    assert comparison.resampled_by == "speaker"
    assert [change.a.id for change in comparison.changes] == [utterance.id for utterance in a.utterances]
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_comparison_names_fixed_and_broken_words():
    a = score([said("turn the light on", "turn a light up", id="1"), said("stop", "stop", id="2")])
    b = score([said("turn the light on", "turn the light up", id="1"), said("stop", "top", id="2")])
    comparison = compare(a, b)
    assert comparison.fixed_words() == {"the": 1}
    assert comparison.broken_words() == {"stop": 1}
    assert comparison.wer_difference == 0.0
    assert comparison.p_value == 1.0
    assert "1 words fixed, 1 broken" in comparison.summary()


def test_comparison_of_a_model_with_itself():
    a = score(corpus({"anna": [9, 7], "ben": [1]}))
    comparison = compare(a, a)
    assert (comparison.wer_interval, comparison.p_value, comparison.fixed) == ((0.0, 0.0), 1.0, 0)


def test_comparison_refuses_other_utterances():
    a = score([said("a", "a", id="1"), said("b", "b", id="2")])
    with pytest.raises(ValueError, match=r"missing from b 1 \(2\), missing from a 1 \(3\)"):
        compare(a, score([said("a", "a", id="1"), said("b", "b", id="3")]))
    with pytest.raises(ValueError, match=r"references differ for 1 \(2\)"):
        compare(a, score([said("a", "a", id="1"), said("c", "b", id="2")]))
    with pytest.raises(ValueError, match=r"in b these ids repeat: 1 \(1\)"):
        compare(a, score([said("a", "a", id="1"), said("a", "b", id="1")]))


def test_comparison_where_nobody_spoke():
    """Resamples of the silent speaker alone have infinite rates in both models: no difference, not NaN."""
    silent = [said("", "um", "quiet", id="3"), said("", "er", "quiet", id="4")]
    a = score([said("a b", "a c", "anna", id="1"), said("d", "e", "ben", id="2"), *silent])
    b = score([said("a b", "a b", "anna", id="1"), said("d", "d", "ben", id="2"), *silent])
    comparison = compare(a, b)
    assert comparison.wer_interval[1] == 0.0 and -3 <= comparison.wer_interval[0] < 0
    assert comparison.share_better + comparison.share_worse < 1  # the quiet resamples


def test_comparison_without_resampling():
    a = score(corpus({"anna": [9], "ben": [1]}))
    comparison = compare(a, a, bootstrap_samples=0)
    assert (comparison.wer_interval, comparison.p_value, comparison.resampled_by) == (None, None, "nothing")


PREDICTIONS = ["turn the lamp on", "stop"]
REFERENCES = ["turn the light on", "stop"]


@pytest.fixture
def offline(monkeypatch, evaluate):
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the metric opened a connection"))


def test_evaluate_loads_the_folder_offline(offline, evaluate, tmp_path):
    metric = evaluate.load(str(FOLDER), cache_dir=str(tmp_path))
    result = metric.compute(predictions=PREDICTIONS, references=REFERENCES, speakers=["anna", "ben"])
    assert result["wer"] == 1 / 5
    assert result["wer_interval"] == [0.0, 1 / 4]
    assert result["resampled_by"] == "speaker"
    rooms = metric.compute(predictions=PREDICTIONS, references=REFERENCES, groups={"room": ["hall", "lab"]})["groups"]
    assert (rooms["room"]["hall"]["wer"], rooms["room"]["lab"]["wer"]) == (1 / 4, 0)
    metric.add(prediction="a", reference="b")
    metric.add_batch(predictions=["c"], references=["c"])
    assert metric.compute()["wer"] == 1 / 2


def test_metric_refuses_by_name():
    metric = load_metric()
    with pytest.raises(ValueError, match="1 speakers for 2 predictions"):
        metric.compute(predictions=PREDICTIONS, references=REFERENCES, speakers=["anna"])
    with pytest.raises(ValueError, match="Unknown config 'rooms'"):
        load_metric("rooms")
    with pytest.raises(ValueError, match=r"Unknown options \['sampels'\]"):
        load_metric().compute(predictions=["a"], references=["a"], sampels=3)


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        np.array,
        iter,
        lambda texts: (text for text in texts),
        lambda texts: pd.Series(texts, index=[5, 9]),  # as after a filter
        lambda texts: pd.Series(texts, dtype="string"),
        lambda texts: datasets.Dataset.from_dict({"text": texts})["text"],
        lambda texts: dict.fromkeys(texts).keys(),
    ],
)
def test_texts_come_from_any_iterable(kind):
    metric = load_metric()
    assert metric.compute(predictions=kind(PREDICTIONS), references=kind(REFERENCES))["wer"] == 1 / 5
    metric.add_batch(predictions=kind(PREDICTIONS), references=kind(REFERENCES))
    metric.add_batch(predictions=kind(PREDICTIONS), references=kind(REFERENCES))
    figures = metric.compute()
    assert (figures["wer"], figures["num_utterances"]) == (2 / 10, 4)


def test_other_columns_come_from_pandas():
    table = pd.DataFrame({"speaker": ["anna", "ben"], "room": ["hall", "lab"], "s": [1.5, 2.0]}, index=[5, 9])
    figures = load_metric().compute(
        predictions=PREDICTIONS,
        references=REFERENCES,
        speakers=table["speaker"],
        durations=table["s"],
        groups=table[["room"]],
    )
    assert figures["num_speakers"] == 2 and figures["audio_s"] == 3.5
    assert figures["groups"]["room"]["hall"]["wer"] == 1 / 4


@pytest.mark.parametrize("config_name", [None, "speakers"])
@pytest.mark.parametrize("unknown", [None, float("nan"), pd.NA])
def test_a_number_is_a_speaker_and_a_missing_one_is_unknown(config_name, unknown):
    for speakers, known in (([0, 1], 2), (np.array([0, 0]), 1), ([7, unknown], 1), ([unknown, unknown], 0)):
        figures = load_metric(config_name).compute(
            predictions=PREDICTIONS, references=REFERENCES, speakers=speakers, durations=np.array([1, 2], np.float32)
        )
        assert (figures["num_speakers"], figures["audio_s"]) == (known, 3.0)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, 3, ["a", "b"]])
def test_what_is_no_text_is_refused_by_its_place(missing):
    metric = load_metric()
    for texts in (["a", missing], pd.Series(["a", missing], index=[5, 9], dtype=object)):
        for given in (
            {"predictions": texts, "references": ["a", "b"]},
            {"predictions": ["a", "b"], "references": texts},
        ):
            (name,) = (name for name, values in given.items() if values is texts)
            for call in (metric.compute, metric.add_batch):
                with pytest.raises(ValueError, match=rf"{name}\[1\] is .*; expected a text"):
                    call(**given)
    with pytest.raises(ValueError, match=r"predictions\[0\] is .*; expected a text"):
        metric.add(prediction=missing, reference="a")
    assert metric.compute(predictions=["a"], references=["a"])["num_utterances"] == 1  # nothing was kept of the rest


def test_a_single_text_is_no_list_of_letters():
    with pytest.raises(ValueError, match="predictions is the single text 'a b'; expected a list"):
        load_metric().compute(predictions="a b", references="a c")
    with pytest.raises(ValueError, match="references is missing"):
        load_metric().compute(predictions=["a"])
    with pytest.raises(ValueError, match=r"durations\[1\] is None"):
        load_metric().compute(predictions=PREDICTIONS, references=REFERENCES, durations=[1.0, None])


def test_metric_combines_with_others(evaluate):
    combined = evaluate.combine({"all": load_metric(), "few": load_metric()})
    result = combined.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result["all_wer"] == result["few_wer"] == 1 / 5


ROWS = [("turn the lamp on", "turn the light on", "anna"), ("stop", "stop", "ben"), ("a b", "a", "cleo")]


def one_of_two_processes(rank: int, evaluate: Any, cache: str, results: Any) -> None:
    metric = evaluate.load(
        str(FOLDER), "speakers", num_process=2, process_id=rank, experiment_id="two", cache_dir=cache
    )
    for heard, said_, speaker in ROWS[rank::2]:
        metric.add_batch(predictions=[heard], references=[said_], speakers=[speaker])
    results.put((rank, metric.compute()))


def test_two_processes(tmp_path, evaluate):
    context = multiprocessing.get_context("fork")  # evaluate is imported already: a fresh one takes ten seconds
    results = context.Queue()
    given = (evaluate, str(tmp_path), results)
    workers = [context.Process(target=one_of_two_processes, args=(rank, *given)) for rank in range(2)]
    for worker in workers:
        worker.start()
    by_rank = dict(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert by_rank[1] is None
    assert (by_rank[0]["wer"], by_rank[0]["num_utterances"], by_rank[0]["num_speakers"]) == (2 / 6, 3, 3)
