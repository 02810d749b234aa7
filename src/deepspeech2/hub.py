"""The way to the Hub: the finished model with its code, card, report and curves, in one commit."""

import logging
import shlex
from concurrent.futures import Future
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HTTPError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

LEFT_BEHIND = ("checkpoint-*/**", "from-random-weights/**", "drops/**", "scores-*/**", "training_args.bin", "*.log")
CHECKPOINT_FILES = (
    "config.json",
    "processor_config.json",
    "tokenizer*.json",
    "vocab.json",
    "model*.safetensors",
    "*.py",
)
FAILURES = (HTTPError, OSError, ValueError)  # every error of the client and of the network is one of them


def open_repository(
    folder: Path,
    repo_id: str | None,
    *,
    language: str,
    license: str,
    token: str | None = None,
    private: bool | None = None,
) -> str:
    """
    Makes sure, before anything is trained, that there is a repository to push to, that the token may write there, and
    that the Hub takes the card's metadata.

    Args:
        language, license: of the model card.
        folder, repo_id, token, private: as for `push_run`.

    Returns:
        The repository's full id.

    Raises:
        ConnectionError: the push would fail, with what to do about it.
    """
    card = ModelCard(f"---\n{ModelCardData(language=language, license=license).to_yaml()}\n---\n")
    try:
        opened = HfApi(token=token).create_repo(repo_id or folder.name, private=private, exist_ok=True).repo_id
        card.validate(repo_type="model")
    except FAILURES as error:
        raise ConnectionError(
            f"--push_to_hub cannot open the repository {repo_id or folder.name}: {error}\n"
            "Nothing was trained. Log in with `hf auth login` or set HF_TOKEN, with a token that may write there; or "
            "leave --push_to_hub out and push later with `hf upload`"
        ) from error
    return opened


class PushCheckpoints(TrainerCallback):
    """Uploads the model of each checkpoint while training goes on; a failed upload is logged, the next one tried."""

    def __init__(self, repo_id: str, *, token: str | None = None):
        self.repo_id = repo_id
        self.api = HfApi(token=token)
        self.upload: Future | None = None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if not state.is_world_process_zero:
            return
        if self.upload is not None and not self.upload.done():
            logger.warning(
                "the push of the checkpoint before is still going on: checkpoint-%d waits", state.global_step
            )
        self._finish()
        self.upload = self.api.upload_folder(
            repo_id=self.repo_id,
            folder_path=Path(args.output_dir or ".", f"checkpoint-{state.global_step}"),
            allow_patterns=list(CHECKPOINT_FILES),
            commit_message=f"Training in progress, step {state.global_step}",
            run_as_future=True,
        )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._finish()

    def _finish(self) -> None:
        if self.upload is None:
            return
        try:
            self.upload.result()
        except FAILURES as error:
            logger.warning("a checkpoint could not be pushed to %s, training goes on: %s", self.repo_id, error)
        self.upload = None


def push_run(folder: Path, repo_id: str | None, *, token: str | None = None, private: bool | None = None) -> str:
    """
    Uploads a run's folder: weights, processor, code, model card, results, report, TensorBoard logs.

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
    try:
        url = api.create_repo(repo_id or folder.name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=url.repo_id,
            folder_path=folder,
            ignore_patterns=list(LEFT_BEHIND),
            commit_message="Add the trained model with its card and report",
        )
    except FAILURES as error:
        excluded = [word for pattern in LEFT_BEHIND for word in ("--exclude", pattern)]
        visibility = ["--private"] if private else []
        raise ConnectionError(
            f"the push of {folder} to {repo_id or folder.name} failed: {error}\n"
            f"Nothing is lost: the model lies complete in {folder}. Once the cause is mended, upload it with\n"
            f"  {shlex.join(['hf', 'upload', repo_id or folder.name, str(folder), '.', *excluded, *visibility])}"
        ) from error
    logger.info("pushed to %s", commit.commit_url)
    return commit.commit_url
