"""transformers' own Trainer with the code that every example of CTC fine-tuning has, on this model and processor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

import tiny

TEXTS = ["ab ca", "ba ac", "cab ab", "abc", "ca ba"]
METRIC = Path(__file__).resolve().parents[2] / "src" / "deepspeech2" / "evaluation" / "metrics"


@dataclass
class DataCollatorCTCWithPadding:
    processor: Any
    padding: bool | str = True

    def __call__(self, features: list[dict]) -> dict[str, torch.Tensor]:
        input_features = [{"input_features": feature["input_features"]} for feature in features]
        label_features = [{"input_ids": feature["labels"]} for feature in features]
        batch = self.processor.pad(input_features, padding=self.padding, return_tensors="pt")
        labels_batch = self.processor.pad(labels=label_features, padding=self.padding, return_tensors="pt")
        batch["labels"] = labels_batch["input_ids"].masked_fill(labels_batch.attention_mask.ne(1), -100)
        return batch


@pytest.mark.parametrize("batched", [False, True])
def test_the_usual_code_trains_and_scores(batched: bool, tmp_path: Path) -> None:
    model, processor = tiny.new_model()
    rng = np.random.default_rng(0)
    clips = [{"audio": tiny.tones(text, rng).astype(np.float32), "text": f"{text.upper()}!"} for text in TEXTS]

    def prepare(batch: dict) -> dict:
        batch["input_features"] = processor(batch["audio"], sampling_rate=tiny.RATE).input_features[0]
        batch["input_length"] = len(batch["input_features"])
        if not batched:
            batch["labels"] = processor(text=batch["text"]).input_ids
        return batch

    corpus = Dataset.from_list(clips).map(prepare, remove_columns=["audio"])
    if batched:
        corpus = corpus.map(lambda batch: {"labels": processor(text=batch["text"]).input_ids}, batched=True)
    import evaluate  # for seconds, which a process that runs other files does not need

    metric, scored = evaluate.load(str(METRIC)), []

    def compute_metrics(pred: Any) -> dict[str, float]:
        pred_ids = np.argmax(pred.predictions, axis=-1)
        pred.label_ids[pred.label_ids == -100] = processor.tokenizer.pad_token_id
        pred_str = processor.batch_decode(pred_ids)
        label_str = processor.batch_decode(pred.label_ids, group_tokens=False)
        scored.append((pred_str, label_str))
        return {"wer": metric.compute(predictions=pred_str, references=label_str)["wer"]}

    model.freeze_feature_encoder()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    statistics = {name: value.clone() for name, value in model.model.convs.named_buffers()}
    args = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        per_device_eval_batch_size=2,  # so that the logits of batches of several lengths are joined
        max_steps=4,
        eval_strategy="steps",
        eval_steps=4,
        train_sampling_strategy="group_by_length",
        length_column_name="input_length",
        learning_rate=1e-3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=args,
        data_collator=DataCollatorCTCWithPadding(processor),
        train_dataset=corpus,
        eval_dataset=corpus,
        compute_metrics=compute_metrics,
        processing_class=processor,
    )
    trainer.train()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("model.convs"), name
    assert all(torch.equal(value, statistics[name]) for name, value in model.model.convs.named_buffers())

    figures = trainer.evaluate()
    pred_str, label_str = scored[-1]
    assert sorted(label_str) == sorted(TEXTS) and 0 <= figures["eval_wer"] <= 5
    alone = {}
    for clip in clips:
        inputs = processor(clip["audio"], sampling_rate=tiny.RATE, return_tensors="pt")
        with torch.inference_mode():
            ids = model.eval()(**inputs).logits.argmax(-1)
        alone[clip["text"][:-1].lower()] = processor.batch_decode(ids)[0]
    assert [alone[text] for text in label_str] == pred_str  # the padding between the batches adds no letter
