"""Model folders on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from shared_core.errors import CheckpointError, first_line
from shared_core.extras import require


def push_to_hub(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload model",
) -> str:
    """Upload a folder, making the repository if needed.

    Args:
        folder: all of it is uploaded.
        repo_id: `owner/name`.
        private: for a repository that is new.
        revision: branch to upload to; made if it is absent.
        message: of the commit.

    Returns:
        The commit, by which the same bytes are found again.

    Raises:
        CheckpointError: the hub cannot be reached or refuses; holds its reason.
        MissingExtraError: the extra `hub` is not installed.
    """
    api = require("huggingface_hub", "hub").HfApi()
    # What a failed connection raises is of the HTTP library, which differs between the hub's versions.
    unreachable = require("huggingface_hub.errors", "hub").HTTPError
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=str(folder), revision=revision, commit_message=message
        )
    except (OSError, ValueError, unreachable) as error:
        raise CheckpointError(
            repo_id,
            f"the hub does not take it ({first_line(error)})",
            remedy="Log in with `hf auth login`, and check the name and your rights to it.",
        ) from error
    return str(commit.oid)
