"""Push a run to the Hub: the model with its code, card, report and training curves, in one commit."""

import logging
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi, ModelCard, ModelCardData
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from yaml import YAMLError

from ..config.arguments import Recipe, RecipeTrainingArguments
from ..evaluation.reports import card_metadata
from ..model.loading import CHECKPOINT_FILES
from ..system.network import FAILURES, advice, ask

logger = logging.getLogger(__name__)

LEFT_BEHIND = (
    "checkpoint-*/**", "unfinished/**", "from-random-weights/**", "check/**", "push-*/**", "drops/**", "scores-*/**",
    "skipped_steps.jsonl", "training_args.bin", "*.log", ".lock",
)  # fmt: skip
CARD_FAULTS = (ValueError, YAMLError)  # metadata that the Hub refuses; metadata that is not YAML


def without_token(text: str, token: str | None) -> str:
    """Return the text with the token masked, because cards and reports are public."""
    return text.replace(token, "<token>") if token else text


def open_repository(
    folder: Path,
    repo_id: str | None,
    metadata: ModelCardData,
    *,
    token: str | None = None,
    private: bool | None = None,
) -> str:
    """
    Check before training that the push will work.

    The repository is created if it does not exist, the token must be allowed to write to it, and the Hub must accept
    the metadata of the model card.

    Args:
        metadata: the metadata of the model card.
        folder, repo_id, token, private: as for `push_run`.

    Returns:
        The full id of the repository.

    Raises:
        ConnectionError: the push would fail. The message says what to do.
    """
    if token:
        logger.warning(
            "hub_token is set in the command or the configuration, where others may read it. accelerate also prints "
            "the command of a run that fails. Use HF_TOKEN or `hf auth login` instead"
        )
    api = HfApi(token=token)
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n")

    def open_and_check() -> str:
        opened = api.create_repo(repo_id or folder.name, private=private, exist_ok=True).repo_id
        api.auth_check(opened, write=True)  # create_repo accepts a read-only token if the repository exists
        card.validate(repo_type="model")
        return opened

    try:
        return ask(f"the repository {repo_id or folder.name}", open_and_check)
    except FAILURES as error:
        raise ConnectionError(
            f"--push_to_hub cannot open the repository {repo_id or folder.name}: {error}{advice(error)}\n"
            "No training was started. To train anyway, leave out --push_to_hub and push later with `hf upload`"
        ) from error


def prepare_push(recipe: Recipe) -> list[TrainerCallback]:
    """
    Open the repository of a run with `push_to_hub`, and write its full id into the recipe. Only the main process does.

    Returns:
        The callbacks that push checkpoints during training, if the recipe asks for them.

    Raises:
        ConnectionError: `open_repository` failed.
    """
    training, model = recipe.training, recipe.model
    if not training.push_to_hub or training.process_index:
        return []
    corpora = list(dict.fromkeys(recipe.data.dataset_name))
    metadata = card_metadata(model.model_name_or_path or None, model.language, model.license, corpora)
    training.hub_model_id = open_repository(
        training.folder,
        training.hub_model_id,
        metadata,
        token=training.hub_token,
        private=training.hub_private_repo,
    )
    every_save = training.hub_strategy == "every_save"
    return [PushCheckpoints(training.hub_model_id, token=training.hub_token)] if every_save else []


class PushCheckpoints(TrainerCallback):
    """
    Upload the model of each checkpoint, one after the other, while training continues.

    Training waits for the uploads only at its end. While two uploads are pending, a new checkpoint is not uploaded. A
    failed upload is logged, and the next one is tried.
    """

    def __init__(self, repo_id: str, *, token: str | None = None):
        self.repo_id = repo_id
        self.api = HfApi(token=token)
        self.uploads: list[tuple[Future, Path]] = []

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if not state.is_world_process_zero:
            return
        while self.uploads and self.uploads[0][0].done():
            self._finish()
        if len(self.uploads) > 1:
            logger.warning(
                "two checkpoints are still uploading to %s, so checkpoint-%d is not pushed",
                self.repo_id,
                state.global_step,
            )
            return
        output_dir = Path(args.output_dir or ".")
        # Upload a copy, because the checkpoint itself may be rotated out before the upload ends.
        copied = Path(tempfile.mkdtemp(prefix="push-", dir=output_dir))
        for pattern in CHECKPOINT_FILES:
            for file in (output_dir / f"checkpoint-{state.global_step}").glob(pattern):
                shutil.copy2(file, copied)
        upload = partial(
            self.api.upload_folder,
            repo_id=self.repo_id,
            folder_path=copied,
            commit_message=f"Training in progress, step {state.global_step}",
        )
        future = self.api.run_as_future(ask, f"the push of checkpoint-{state.global_step}", upload)
        self.uploads.append((future, copied))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        while self.uploads:
            self._finish()

    def _finish(self) -> None:
        """Wait for the oldest upload, and log its failure."""
        upload, copied = self.uploads.pop(0)
        try:
            upload.result()
        except FAILURES as error:
            logger.warning("a checkpoint could not be pushed to %s, and training continues: %s", self.repo_id, error)
        shutil.rmtree(copied, ignore_errors=True)


@contextmanager
def pushed(training: RecipeTrainingArguments) -> Iterator[None]:
    """
    Push the folder of a run, if `push_to_hub`, when the block ends. An error in the block, such as a report that cannot
    be written, is raised after the push, so that the weights are not lost. After Ctrl-C nothing is pushed.
    """

    def push() -> None:
        if training.push_to_hub:
            token, private = training.hub_token, training.hub_private_repo
            push_run(training.folder, training.hub_model_id, token=token, private=private)

    try:
        yield
    except Exception as error:
        if training.push_to_hub:
            logger.error("%s: %s; the weights are pushed nevertheless", type(error).__name__, error)
        push()
        raise
    push()


def push_run(folder: Path, repo_id: str | None, *, token: str | None = None, private: bool | None = None) -> str:
    """
    Upload the folder of a run: weights, processor, code, model card, results, report, TensorBoard logs.

    Everything is one commit, so the main branch never holds half of it. If the Hub refuses the card, the rest is pushed
    without it, with a warning.

    Args:
        folder: the folder of the model.
        repo_id: `user/name`, or a name in the account of the token; None uses the name of the folder.
        token: None uses the token of `hf auth login` or HF_TOKEN.
        private: None uses the default of the account.

    Returns:
        The URL of the commit.

    Raises:
        ConnectionError: the upload failed. The complete model is in `folder`, and the message gives the command that
            uploads it later.
    """
    api = HfApi(token=token)
    name = repo_id or folder.name
    fault = _fault_of_card(folder / "README.md")
    left_behind = [*LEFT_BEHIND, *(["README.md"] if fault else [])]

    def upload() -> CommitInfo:
        return api.upload_folder(
            repo_id=api.create_repo(name, private=private, exist_ok=True).repo_id,
            folder_path=folder,
            ignore_patterns=left_behind,
            commit_message="Add the trained model with its card and report",
        )

    try:
        commit = ask(f"the push to {name}", upload)
    except FAILURES as error:
        later = left_behind if isinstance(fault, CARD_FAULTS) else LEFT_BEHIND
        excluded = [word for pattern in later for word in ("--exclude", pattern)]
        visibility = ["--private"] if private else []
        raise ConnectionError(
            f"the push of {folder} to {name} failed: {error}\n"
            f"Nothing is lost: the complete model is in {folder}. After you fix the cause, upload it with\n"
            f"  {shlex.join(['hf', 'upload', name, str(folder), '.', *excluded, *visibility])}"
        ) from error
    logger.info("pushed to %s", commit.commit_url)
    if fault:
        logger.warning(
            "the model was pushed without its card, because the Hub refused the card: %s\n"
            "Fix the metadata between the --- lines of %s, then run: %s",
            " ".join(str(fault).split()),
            folder / "README.md",
            shlex.join(["hf", "upload", name, str(folder / "README.md"), "README.md"]),
        )
    return commit.commit_url


def _fault_of_card(path: Path) -> Exception | None:
    """Return why a card cannot be pushed: one of CARD_FAULTS, or a failure of the check itself. None if it can."""
    if not path.is_file():
        return None
    try:
        ask("the check of the card", partial(ModelCard.load(path).validate, repo_type="model"))
    except (*FAILURES, *CARD_FAULTS) as error:
        return error
    return None
