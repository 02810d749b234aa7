"""CTCTrainer, the only Trainer subclass. It adds endless streams, corpus WER, averaging and atomic checkpoints."""

import copy
import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from accelerate.utils import gather_object, send_to_device
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel
from transformers import EarlyStoppingCallback, ProgressCallback, Trainer
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from ..config.arguments import RecipeTrainingArguments
from ..config.method_arguments import AdaptationArguments, ObjectiveArguments
from ..data.streams import EvaluationStream, PairedStream, SpeechStream, build_eval_loader, build_loader
from ..evaluation.scoring import score_processes
from .callbacks import (
    BlankWatch,
    Buffers,
    CTCProgress,
    EpochClock,
    LogAtCheckpoint,
    SkippedSteps,
    WeightAveraging,
    holding_average,
    ramped_average,
)
from .checkpoints import (
    ANOTHER_ORDER,
    STATE_NAME,
    UNFINISHED,
    changes,
    disk_errors,
    finish,
    is_complete,
    keep_newest,
    load_position,
    place_aside,
    save_position,
    state_of,
)
from .methods.adaptation import Adaptation, parameter_groups
from .methods.objective import Objective

logger = logging.getLogger(__name__)

RAW_WEIGHTS_NAME = "training_weights.safetensors"
FP16_OVERFLOW = "step %d skipped: the fp16 gradients overflow at the loss scale %g, which the scaler now lowers"
MODEL_INPUTS = ("input_features", "attention_mask", "labels", "second_view", "unlabelled")


class CTCTrainer(Trainer):
    """
    Train a `DeepSpeech2ForCTC` on a `SpeechStream` and score it by corpus WER.

    Args:
        model: the model.
        args: `RecipeTrainingArguments` with max_steps set (see `resolve_epochs`).
        processor: the processor of the model, saved with every checkpoint.
        train_stream: endless batches. Their position is part of every checkpoint.
        eval_stream: one finite pass, scored when `eval_strategy` says.
        steps_per_epoch: used for the epochs in the log and for `learning_anneal`; None if unknown.
        objective: the training loss; None means CTC, the loss of the model.
        adaptation: the choice of trained weights; None trains all.
    """

    def __init__(
        self,
        model,
        args: RecipeTrainingArguments,
        processor,
        train_stream: SpeechStream | PairedStream,
        eval_stream: EvaluationStream | None,
        steps_per_epoch: float | None = None,
        objective: Objective | None = None,
        adaptation: Adaptation | None = None,
    ):
        args = copy.copy(args)
        # Trainer's push writes its own card and uploads the whole folder, so hub.py pushes instead.
        args.push_to_hub, args.hub_token = False, None
        # With a limit of one, Trainer would remove at its end the checkpoint from which a stopped run resumes.
        self.num_kept, args.save_total_limit = args.save_total_limit, None
        # The stream stores its own position, so Trainer need not read all earlier batches again.
        args.ignore_data_skip = True
        args.restore_callback_states_from_checkpoint = True  # restores the remaining patience of early stopping
        args.logging_nan_inf_filter = False  # it waits for the GPU; training_step does the same without
        super().__init__(
            model=model, args=args, train_dataset=train_stream, eval_dataset=eval_stream, processing_class=processor
        )
        self.accelerator.ddp_handler.gradient_as_bucket_view = True  # DDP then copies no gradient
        self.steps_per_epoch = steps_per_epoch
        self.objective: Objective = objective or Objective(ObjectiveArguments(), model, processor)
        self.adaptation: Adaptation = adaptation or Adaptation(AdaptationArguments(), model, args.max_steps)
        self.beside = (self.adaptation, self.objective)  # both have parameters and a state of their own
        self.average: AveragedModel | None = None
        self.train_loader = self.eval_loader = None
        self.skipped = SkippedSteps(Path(args.output_dir or "."), args.max_skipped_steps, args.should_save)
        self._ids: list[str] = []  # the utterances of the current step
        self._buffers: Buffers | None = None
        self._writes_to, self._audio_s = None, 0.0
        self._audio_since = self._clock = time.perf_counter()
        self.pop_callback(ProgressCallback)
        self.add_callback(BlankWatch())
        self.add_callback(LogAtCheckpoint())
        if not args.disable_tqdm:
            self.add_callback(CTCProgress())
        if steps_per_epoch:
            self.add_callback(EpochClock(steps_per_epoch))
        if args.early_stopping_patience:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    def get_train_dataloader(self):
        """Return the loader of the stream. Each process reads its part, so accelerate has nothing to dispatch."""
        pinned = self.args.dataloader_pin_memory and self.args.device.type == "cuda"
        self.train_loader = build_loader(self.train_dataset, self.args.dataloader_num_workers, pinned)
        return self.train_loader

    def get_eval_dataloader(self, eval_dataset=None):
        """Return the same loader at every evaluation. Its workers keep what they have read."""
        if eval_dataset not in (None, self.eval_dataset):  # Trainer.evaluate names its own
            return build_eval_loader(eval_dataset, self.args.dataloader_num_workers)
        if self.eval_loader is None:
            self.eval_loader = build_eval_loader(self.eval_dataset, self.args.dataloader_num_workers, keep=True)
        return self.eval_loader

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        self._clock = time.perf_counter()
        if resume_from_checkpoint and self._load_if_complete(resume_from_checkpoint):
            return TrainOutput(self.state.global_step, math.nan, {})
        self.skipped.begin(state_of(resume_from_checkpoint).global_step if resume_from_checkpoint else 0)
        if self.args.ema_decay:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError("FSDP and DeepSpeed shard the weights, so ema_decay does not work; set it to 0")
            self.average = AveragedModel(self.model, multi_avg_fn=ramped_average(self.args.ema_decay), use_buffers=True)
            self.add_callback(WeightAveraging(self.average, self.model))
        plain = self.objective.plain and self.adaptation.plain
        if not plain and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(
                "FSDP and DeepSpeed shard the weights, so they support only training all weights with the CTC loss. "
                "Use DDP for other objectives and for adaptation"
            )
        for one in self.beside:
            one.begin(self.args.device)
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        for loader in (self.train_loader, self.eval_loader):
            if loader is not None:
                loader._iterator = None  # ends its workers, which hold audio, before the scores start their own
        if self.average is not None:
            if self.state.best_model_checkpoint is None or not self.args.load_best_model_at_end:
                self.model.load_state_dict(self.average.module.state_dict())
            self.average = None
            self.remove_callback(WeightAveraging)
        return output

    def _load_if_complete(self, checkpoint: str) -> bool:
        """Load the result of a run that was stopped after its last step. Trainer itself would take one more step."""
        state = state_of(checkpoint)
        if not is_complete(state, self.args.max_steps, self.args.early_stopping_patience):
            return False
        self.state = state
        folder = Path((self.args.load_best_model_at_end and state.best_model_checkpoint) or checkpoint)
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.adaptation.load(folder)
        return True

    def get_decay_parameter_names(self, model):
        """Return the weights that decay: no biases and no norms. By its names, Trainer knows only some of the norms."""
        norms = parameter_groups(model)["norms"]
        return [name for name in super().get_decay_parameter_names(model) if name not in norms]

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        for one in self.beside:
            one.join(optimizer)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if self.args.learning_anneal and self.lr_scheduler is None:
            steps_per_epoch = self.steps_per_epoch
            assert steps_per_epoch is not None  # resolve_epochs checks it
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: self.args.learning_anneal ** -int(step / steps_per_epoch),
            )
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def training_step(self, model, inputs, num_items_in_batch=None):
        self._audio_s += sum(inputs["durations_s"])
        if not self._ids:
            self._buffers = Buffers(self.model)
            self.objective.heads.zero_grad()
        self._ids += inputs["ids"]
        inputs = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        inputs = send_to_device(inputs, self.args.device, non_blocking=True)
        with self.adaptation.backward_pass(self.state.global_step, 1 / self.args.gradient_accumulation_steps):
            loss = super().training_step(model, inputs, num_items_in_batch)
        # A loss that is not finite counts in the log as the mean since the last line.
        steps = 1 + self.state.global_step - self._globalstep_last_logged
        return torch.where(loss.isfinite(), loss, self._tr_loss / steps)

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.objective.plain:
            return super().compute_loss(model, inputs, *args, **kwargs)
        return self.objective.loss(model, self.model, inputs, self.state.global_step / self.state.max_steps)

    def _get_grad_norm(self, model, grad_norm=None):
        """Return the gradient norm before each step. If it is non-finite, the step is skipped."""
        norm = super()._get_grad_norm(model, grad_norm)
        self.objective.average_gradients()
        ids, self._ids = self._ids, []
        if not math.isfinite(float(norm)):
            if self.accelerator.scaler is None:  # the fp16 scaler skips the step itself, and needs the gradients
                for parameter in (*model.parameters(), *self.objective.heads.parameters()):
                    parameter.grad = None  # without a gradient, an optimizer changes no parameter and no momentum
            self._buffers.put_back()
            scaler = self.accelerator.scaler
            if scaler is not None and (scale := scaler.get_scale()) > 1:
                logger.info(FP16_OVERFLOW, self.state.global_step + 1, scale)  # a smaller scale may hold
            else:
                self.skipped.add(self.state.global_step + 1, gather_object(ids))
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            now = time.perf_counter()
            audio_s = self.accelerator.reduce(torch.tensor(self._audio_s, device=self.args.device)).item()
            logs["audio_s_per_s"] = audio_s / (now - self._audio_since)
            self._audio_s, self._audio_since = 0.0, now
            logs |= self.objective.means()
        # The total time of all sessions. A resumed run finds the earlier ones in its log.
        earlier_s = next((line["elapsed_s"] for line in reversed(self.state.log_history) if "elapsed_s" in line), 0.0)
        now = time.perf_counter()
        logs["elapsed_s"], self._clock = earlier_s + now - self._clock, now
        super().log(logs, start_time)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Score the averaged weights by corpus WER. Each process scores its part, and keeps texts but no logits."""
        started = time.perf_counter()
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        model = self.model_wrapped if sharded else self.model

        def watched(batches: Iterable[dict]) -> Iterator[dict]:
            for batch in batches:
                yield batch
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with self.averaged_weights(), self.compute_loss_context_manager():
            scores, loss = score_processes(model, self.processing_class, watched(dataloader), sharded)
        metrics = {
            "loss": loss,
            "wer": scores.wer,
            "cer": scores.cer,
            "empty": sum(not one.hypothesis for one in scores.utterances) / scores.num_utterances,
        }
        self._audio_since += time.perf_counter() - started
        return EvalLoopOutput(
            predictions=scores,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{name}": value for name, value in metrics.items()},
            num_samples=scores.num_utterances,
        )

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the averaged weights. Without averaging, it does nothing."""
        return holding_average(self.model, self.average)

    def _save(self, output_dir=None, state_dict=None):
        with self.averaged_weights():
            super()._save(output_dir, None if self.average is not None else state_dict)

    def _save_checkpoint(self, model, trial):
        """Write a checkpoint to a temporary folder, and rename it when every process has written its part."""
        output_dir, name = Path(self.args.output_dir or "."), f"checkpoint-{self.state.global_step}"
        aside = place_aside(output_dir, name)
        with disk_errors(output_dir, name, aside):
            self._writes_to = str(aside.parent)
            super()._save_checkpoint(model, trial)
            self._writes_to = None
            if Path(self.state.best_model_checkpoint or "").parent.name == UNFINISHED:
                self.state.best_model_checkpoint = str(output_dir / name)
                if self.args.should_save:
                    self.state.save_to_json(str(aside / STATE_NAME))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                finish(aside, name)
                keep_newest(output_dir, self.num_kept, self.state.best_model_checkpoint)
            self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial):
        return self._writes_to or super()._get_output_dir(trial)

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        position = {"order": self._order(), "loader": self.train_loader.state_dict()}
        save_position(Path(output_dir), self.args.process_index, self.args.world_size, position)
        if self.args.should_save:
            for one in self.beside:
                one.save(Path(output_dir))
        if self.average is not None and self.args.should_save:
            save_file(self.model.state_dict(), Path(output_dir, RAW_WEIGHTS_NAME))

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self.state.best_model_checkpoint = state_of(checkpoint).best_model_checkpoint
        self._load_position(Path(checkpoint))
        for one in self.beside:
            one.load(Path(checkpoint))
        if self.average is not None:
            # Trainer has loaded model.safetensors, which holds the averaged weights.
            self.average.module.load_state_dict(self.model.state_dict())
            self.average.n_averaged.fill_(self.state.global_step)
            self.model.load_state_dict(load_file(Path(checkpoint, RAW_WEIGHTS_NAME)))

    def _order(self) -> dict[str, float | None]:
        """Return the settings that determine the order of the samples, besides the seed."""
        return self.train_dataset.order() | {"dataloader_num_workers": self.args.dataloader_num_workers}

    def _load_position(self, checkpoint: Path) -> None:
        """Restore the position in the data. If the order has changed, start a new one and log a warning."""
        position = load_position(checkpoint, self.args.process_index, self.args.world_size)
        before, now = position["order"], self._order()
        if before == now:
            self.train_loader.load_state_dict(position["loader"])
            return
        self.train_dataset.start_anew(self.state.global_step)
        logger.warning(ANOTHER_ORDER, changes(before, now), self.state.global_step)
