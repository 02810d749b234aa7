"""Models between a start and a fine-tuned one, and the recipe that picks one."""

import re
import runpy

import pytest
import torch

import tiny
from deepspeech2.decoding.options import DecoderOptions, read_options, write_options
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.reports import Point, best_point
from deepspeech2.model.loading import load_model
from deepspeech2.training.methods.alphabet import change_alphabet
from deepspeech2.training.methods.interpolation import interpolated, models_between


def model_of(seed: int, **sizes):
    torch.manual_seed(seed)
    return tiny.new_model(**sizes)


def heard(right: int) -> object:
    """Scores with `right` of 4 words."""
    texts = ["a"] * right + ["b"] * (4 - right)
    return score([Utterance(id=str(i), speaker_id="s", duration_s=1.0, reference="a", hypothesis=one) for i, one in
                  enumerate(texts)])  # fmt: skip


def test_between_two_models():
    """A quarter of the way; counters are those of the end."""
    start, end = ({"w": torch.tensor([value]), "n": torch.tensor(int(value))} for value in (0.0, 8.0))
    statistics = {"running_mean": torch.tensor([4.0]), "running_var": torch.tensor([1.0])}
    assert interpolated(statistics, {name: 3 * one for name, one in statistics.items()}, 0.5) == {
        "running_mean": torch.tensor([8.0]),
        "running_var": torch.tensor([2.0]),
    }
    assert interpolated(start, end, 0.25) == {"w": torch.tensor([2.0]), "n": torch.tensor(8)}
    with pytest.raises(ValueError, match="the shape of w is 1 in one model and 2 in the other"):
        interpolated(start, {"w": torch.zeros(2), "n": torch.tensor(1)}, 0.5)


def test_the_ends_are_the_two_models():
    start, end = model_of(0), model_of(1)
    x = torch.randn(2, 60, 20)
    for share, model in models_between(start, end, [0.0, 0.5, 1.0]):
        same = [model.eval()(x).logits.equal(one.eval()(x).logits) for one in (start[0], end[0])]
        assert same == [share == 0, share == 1]


def test_what_has_no_way_between_is_refused():
    start, end = model_of(0), model_of(1)
    other = change_alphabet(end[0], end[1], "bca ")  # of the same size
    with pytest.raises(ValueError, match="different alphabets, or the same characters in another order"):
        next(models_between(start, (end[0], other), [0.5]))
    with pytest.raises(ValueError, match=r"different architectures: only one of them has model\.adapters\.0\.up"):
        next(models_between(start, model_of(1, adapter_size=2), [0.5]))
    with pytest.raises(ValueError, match=r"alphas has 1\.5; expected numbers from 0 to 1"):
        next(models_between(start, end, [0.5, 1.5]))


def test_the_best_has_the_lowest_mean():
    """Target and source of 4 words, right: 0 and 4, 3 and 3, 4 and 2, 4 and 0; means 1/2, 1/4, 1/4, 1/2."""
    counts = {0.0: (0, 4), 0.3: (3, 3), 0.7: (4, 2), 1.0: (4, 0)}
    points = [Point(share, heard(target), heard(source)) for share, (target, source) in counts.items()]
    assert [one.mean_wer for one in points] == [0.5, 0.25, 0.25, 0.5]
    assert best_point(points).share == 0.3


def test_the_recipe_keeps_the_best(tmp_path, repository, capsys, rendered):
    target, source = (tiny.write_corpus(tmp_path / name, name, 5, seed) for seed, name in enumerate(["new", "old"]))
    for seed, name in enumerate(["start", "tuned"]):
        for one in model_of(seed):
            one.save_pretrained(tmp_path / name)
    write_options(DecoderOptions(beam_size=5), tmp_path / "tuned" / "decoder.json")
    main = runpy.run_path(str(repository / "recipes" / "interpolate.py"))["main"]
    words = [str(tmp_path / name) for name in ("start", "tuned")]
    options = ["--dataset_name", str(target), "--target", "new", "--source", f"{source}::old"]
    main([*words, *options, "--alphas", "1", "0", "0.5", "--output_dir", str(tmp_path / "out")])
    table = (tmp_path / "out" / "interpolation.md").read_text()
    rows = re.findall(r"^\| (\**)([\d.]+)\**.*?([\d.]+)\** \|$", table, flags=re.MULTILINE)
    assert [share for _, share, _ in rows] == ["0", "0.5", "1"]
    means = {share: float(mean) for _, share, mean in rows}
    (chosen,) = [share for bold, share, _ in rows if bold]
    assert means[chosen] == min(means.values())
    assert (tmp_path / "out" / "interpolation.png").stat().st_size > 5000
    assert f"Kept share {chosen} in" in capsys.readouterr().out
    saved, _ = load_model(str(tmp_path / "out"))
    assert read_options(tmp_path / "out" / "decoder.json").beam_size == 5
    ends = [load_model(word)[0].state_dict() for word in words]
    expected = interpolated(*ends, float(chosen))
    assert all(one.equal(expected[name]) for name, one in saved.state_dict().items())
    with pytest.raises(SystemExit):
        main([*words, *options, "--output_dir", words[1]])
    assert "would overwrite one of the two models" in capsys.readouterr().err
