"""The way to the Hub: the finished model with its code, card, report and curves, in one commit."""

import logging
import shlex
import shutil
import tempfile
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi, ModelCard, ModelCardData
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from yaml import YAMLError

from ..config.arguments import Recipe
from ..evaluation.reports import card_metadata
from ..model.loading import CHECKPOINT_FILES
from ..system.network import FAILURES, advice, ask

logger = logging.getLogger(__name__)

LEFT_BEHIND = (
    "checkpoint-*/**", "unfinished/**", "from-random-weights/**", "check/**", "push-*/**", "drops/**", "scores-*/**",
    "skipped_steps.jsonl", "training_args.bin", "*.log", ".lock",
)  # fmt: skip
CARD_FAULTS = (ValueError, YAMLError)  # the Hub's answer to metadata that is wrong; metadata that is no YAML


def without_token(text: str, token: str | None) -> str:
    """For cards and reports, which are for everybody."""
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
    Makes sure, before anything is trained, that there is a repository to push to, that the token may write there, and
    that the Hub takes the card's metadata.

    Args:
        metadata: of the model card.
        folder, repo_id, token, private: as for `push_run`.

    Returns:
        The repository's full id.

    Raises:
        ConnectionError: the push would fail, with what to do about it.
    """
    if token:
        logger.warning(
            "hub_token stands in the command or the configuration, where others may read it, and accelerate prints the "
            "command of a run that fails: HF_TOKEN or `hf auth login` keep it out of both"
        )
    api = HfApi(token=token)
    card = ModelCard(f"---\n{metadata.to_yaml()}\n---\n")

    def open_and_check() -> str:
        opened = api.create_repo(repo_id or folder.name, private=private, exist_ok=True).repo_id
        api.auth_check(opened, write=True)  # a repository that is there opens for a token that may only read, too
        card.validate(repo_type="model")
        return opened

    try:
        return ask(f"the repository {repo_id or folder.name}", open_and_check)
    except FAILURES as error:
        raise ConnectionError(
            f"--push_to_hub cannot open the repository {repo_id or folder.name}: {error}{advice(error)}\n"
            "Nothing was trained. Without --push_to_hub the training starts, and `hf upload` pushes it later"
        ) from error


def prepare_push(recipe: Recipe) -> list[TrainerCallback]:
    """
    Opens the repository of a run that is to be pushed, and writes its full id into the recipe; by the main process.

    Returns:
        The callbacks that push along the way, where the recipe asks for that.

    Raises:
        ConnectionError: as of `open_repository`.
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
    Uploads the model of each checkpoint, one after the other, while training goes on; it waits for them at its end
    alone. Where two are on their way, a third is left out. A failed upload is logged, the next one tried.
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
                "two checkpoints are still on their way to %s: checkpoint-%d is not pushed",
                self.repo_id,
                state.global_step,
            )
            return
        output_dir = Path(args.output_dir or ".")
        # A copy: the checkpoint itself may be removed for a newer one before it is uploaded.
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
        """The result of the upload that began first, which is waited for."""
        upload, copied = self.uploads.pop(0)
        try:
            upload.result()
        except FAILURES as error:
            logger.warning("a checkpoint could not be pushed to %s, training goes on: %s", self.repo_id, error)
        shutil.rmtree(copied, ignore_errors=True)


def push_run(folder: Path, repo_id: str | None, *, token: str | None = None, private: bool | None = None) -> str:
    """
    Uploads a run's folder: weights, processor, code, model card, results, report, TensorBoard logs.

    All goes in one commit: main holds what it held before, or everything. A card that the Hub refuses stays behind,
    with a warning; the rest goes.

    Args:
        folder: of the model.
        repo_id: `user/name`, or a name in the token's own account; None: the folder's name.
        token: None: that of `hf auth login` or HF_TOKEN.
        private: None: the account's default.

    Returns:
        Address of the commit.

    Raises:
        ConnectionError: the upload failed. The model lies complete in `folder`; the message holds the command that
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
            f"Nothing is lost: the model lies complete in {folder}. Once the cause is mended, upload it with\n"
            f"  {shlex.join(['hf', 'upload', name, str(folder), '.', *excluded, *visibility])}"
        ) from error
    logger.info("pushed to %s", commit.commit_url)
    if fault:
        logger.warning(
            "the model is pushed, but without its card, which the Hub does not take: %s\n"
            "Mend what stands between the lines --- of %s, then: %s",
            " ".join(str(fault).split()),
            folder / "README.md",
            shlex.join(["hf", "upload", name, str(folder / "README.md"), "README.md"]),
        )
    return commit.commit_url


def _fault_of_card(path: Path) -> Exception | None:
    """What keeps a card from being pushed: one of CARD_FAULTS, or a failure of the check itself; None: nothing."""
    if not path.is_file():
        return None
    try:
        ask("the check of the card", partial(ModelCard.load(path).validate, repo_type="model"))
    except (*FAILURES, *CARD_FAULTS) as error:
        return error
    return None
