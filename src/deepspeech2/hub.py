"""The way to the Hub: the finished model with its code, card, report and curves, in one commit."""

import logging
import shlex
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError

logger = logging.getLogger(__name__)

LEFT_BEHIND = ("checkpoint-*/**", "from-random-weights/**", "drops/**", "scores-*/**", "training_args.bin", "*.log")


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
    except (HTTPError, OSError, ValueError) as error:  # every error of the client and of the network is one of them
        excluded = [word for pattern in LEFT_BEHIND for word in ("--exclude", pattern)]
        visibility = ["--private"] if private else []
        raise ConnectionError(
            f"the push of {folder} to {repo_id or folder.name} failed: {error}\n"
            f"Nothing is lost: the model lies complete in {folder}. Once the cause is mended, upload it with\n"
            f"  {shlex.join(['hf', 'upload', repo_id or folder.name, str(folder), '.', *excluded, *visibility])}"
        ) from error
    logger.info("pushed to %s", commit.commit_url)
    return commit.commit_url
