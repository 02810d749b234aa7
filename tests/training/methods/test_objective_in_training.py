"""What the model learns from, through the Trainer: the second stream, the heads, resumes, several processes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from deepspeech2.config.method_arguments import ObjectiveArguments
from deepspeech2.data.streams import INPUTS, PairedStream
from deepspeech2.training.methods.objective import HEADS_NAME, Objective
from deepspeech2.training.trainer import CTCTrainer
from trainers import ONE_STEP, Repeated, StopAfterSave, Stopped, logged, run_on_two_ranks, weights

ALL = ObjectiveArguments(
    label_smoothing=0.1,
    entropy_weight=0.1,
    consistency_weight=0.3,
    mwer_weight=0.5,
    mwer_count=4,
    domain_adversarial_weight=0.5,
    distillation_weight=0.5,
    distillation_temperature=2.0,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("speech"), "u", 12)


def new_trainer(folder, manifest, arguments: ObjectiveArguments | None, **options) -> CTCTrainer:
    torch.manual_seed(1)
    model, processor = tiny.new_model(dropout=0.2)
    args = tiny.training_arguments(folder, **options)
    stream, evaluation = tiny.streams(manifest, model, processor, args, objective=arguments or ObjectiveArguments())
    if arguments is not None and arguments.takes_unlabelled:
        stream = PairedStream(stream, tiny.unlabelled_stream(manifest, model, processor, args))
    objective = None if arguments is None else Objective(arguments, model, processor)
    return CTCTrainer(model, args, processor, stream, evaluation, objective=objective)


def test_nothing_asked_for_is_the_training_as_it_was(tmp_path, manifest):
    """The same losses and weights, to the bit, as CTCTrainer without an objective."""
    plain, without = (new_trainer(tmp_path, manifest, one) for one in (ObjectiveArguments(), None))
    for trainer in (plain, without):
        torch.manual_seed(0)
        trainer.train()
    assert logged(plain, "loss") == logged(without, "loss")
    assert all(weight.equal(weights(without.model)[name]) for name, weight in weights(plain.model).items())
    assert not logged(plain, "ctc_loss")


def test_ctc_as_an_objective_is_ctc(tmp_path, manifest):
    """The sum with one part of next to no weight takes the same steps as the model's own loss."""
    summed = new_trainer(tmp_path, manifest, ObjectiveArguments(entropy_weight=1e-12))
    without = new_trainer(tmp_path, manifest, None)
    for trainer in (summed, without):
        torch.manual_seed(0)
        trainer.train()
    assert logged(summed, "loss") == pytest.approx(logged(without, "loss"), rel=1e-5)
    assert logged(summed, "ctc_loss") == pytest.approx(logged(without, "loss"), rel=1e-4)


def test_a_resumed_run_of_everything_is_the_uninterrupted_one(tmp_path, manifest):
    """Samples, changes, both streams, the classifier and the copy of the start: the same to the last bit."""
    options = {"save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 2}
    whole = new_trainer(tmp_path / "whole", manifest, ALL, **options)
    start = weights(whole.model)
    heads_before = {name: tensor.clone() for name, tensor in whole.objective.heads.state_dict().items()}
    whole.train()

    stopped = new_trainer(tmp_path / "parts", manifest, ALL, **options)
    stopped.add_callback(StopAfterSave(3))
    with pytest.raises(Stopped):
        stopped.train()
    resumed = new_trainer(tmp_path / "parts", manifest, ALL, **options)
    torch.manual_seed(99)
    torch.nn.init.ones_(resumed.objective.heads["domain"].layers[1].weight)  # another process stands elsewhere
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))

    names = (
        "loss",
        "grad_norm",
        "ctc_loss",
        "consistency",
        "expected_error_rate",
        "domain_loss",
        "distillation",
        "entropy",
    )
    for name in (*names, "uniform_cross_entropy", "domain_accuracy"):
        assert logged(resumed, name) == logged(whole, name), name
        assert len(logged(whole, name)) == 6
    assert len(set(logged(whole, "loss"))) == 6
    assert all(weight.equal(weights(whole.model)[name]) for name, weight in weights(resumed.model).items())
    heads = whole.objective.heads.state_dict()
    assert all(tensor.equal(heads[name]) for name, tensor in resumed.objective.heads.state_dict().items())

    # Every head has learnt, and none is part of the model; the copy of the start is that of the start.
    assert all(not tensor.equal(heads_before[name]) for name, tensor in heads.items())
    saved = load_file(tmp_path / "whole" / "checkpoint-6" / "model.safetensors")
    assert saved.keys() == whole.model.state_dict().keys()
    assert load_file(tmp_path / "whole" / "checkpoint-6" / HEADS_NAME).keys() == heads.keys()
    for trainer in (whole, resumed):
        assert all(parameter.equal(start[name]) for name, parameter in trainer.objective.start.named_parameters())


def test_a_step_without_a_finite_gradient_moves_no_head(tmp_path, manifest, monkeypatch):
    trainer = new_trainer(tmp_path, manifest, replace(ALL, distillation_weight=0.0), **ONE_STEP)
    own = trainer.objective.loss
    monkeypatch.setattr(trainer.objective, "loss", lambda *given: own(*given) * torch.inf)
    heads = {name: tensor.clone() for name, tensor in trainer.objective.heads.state_dict().items()}
    trainer.train()
    assert trainer.skipped.steps == [1]
    assert all(tensor.equal(heads[name]) for name, tensor in trainer.objective.heads.state_dict().items())


def test_sharded_weights_learn_from_ctc_alone(tmp_path, manifest):
    trainer = new_trainer(tmp_path, manifest, replace(ALL, distillation_weight=0.0))
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match=r"FSDP and DeepSpeed shard the weights, so they support only .* the CTC loss"):
        trainer.train()


RANK_SCRIPT = """
import sys
from pathlib import Path
import torch
from test_objective_in_training import one_step
rank = int(__import__("os").environ["RANK"])
torch.manual_seed(rank)
found = one_step(Path(sys.argv[1]), [2 * rank, 2 * rank + 1])
torch.save(found, Path(sys.argv[1], f"step-{rank}.pt"))
torch.distributed.destroy_process_group()
"""


def one_step(folder: Path, places: list[int]) -> list[dict[str, torch.Tensor]]:
    """The weights of the model and of the heads after a step on some of the batches of `batches.pt`, accumulated."""
    torch.manual_seed(1)
    model, processor = tiny.new_model()
    model.eval().train = lambda mode=True: model  # statistics would differ from process to process
    batches = torch.load(folder / "batches.pt")
    domains = {"domain_adversarial_weight": 1.0, "domain_layer": 1}
    arguments = ObjectiveArguments(**domains, mwer_weight=1.0, mwer_hypotheses="n_best")
    options = ONE_STEP | {"gradient_accumulation_steps": len(places), "learning_rate": 0.1, "use_cpu": True}
    torch.manual_seed(1 + int(os.environ.get("RANK", "0")))  # each process would draw heads of its own
    objective = Objective(arguments, model, processor)
    stream = Repeated([batches[place] for place in places])
    trainer = CTCTrainer(model, tiny.training_arguments(folder, **options), processor, stream, None, None, objective)
    trainer.train()
    return [weights(model), {name: tensor.clone() for name, tensor in objective.heads.state_dict().items()}]


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path, manifest):
    """Two batches on each of two processes, or four on one: the same weights, the classifier's too."""
    model, processor = tiny.new_model()
    batches = tiny.batches(manifest, model, processor, 8, 3, tmp_path)
    pairs = [
        batch | {"unlabelled": {name: other[name] for name in INPUTS}}
        for batch, other in zip(batches[:4], batches[4:], strict=True)
    ]
    torch.save(pairs, tmp_path / "batches.pt")
    run_on_two_ranks(RANK_SCRIPT, tmp_path)

    first, second = (torch.load(tmp_path / f"step-{rank}.pt") for rank in (0, 1))
    alone = one_step(tmp_path, [0, 1, 2, 3])
    for mine, other, whole in zip(first, second, alone, strict=True):
        for name, tensor in whole.items():
            assert mine[name].equal(other[name]), name
            torch.testing.assert_close(mine[name], tensor, rtol=1e-4, atol=1e-5)
