"""The model hub, through its own client: asked in seconds whether a push can work, and sent one commit, whole or not.

The client waits for ever for a server that takes a connection and says nothing, so that every question has an end here.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from transfer_cli.downloads import reach
from transfer_cli.errors import RunError, UserError, first_line
from transfer_cli.runs.pushing.package import Package, Sent
from transfer_cli.runs.saved_model import WEIGHTS

ANSWER_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A repository of the hub that may be written, as far as can be told before something is."""

    api: Any
    to: str
    exists: bool
    private: bool


def find(to: str, *, private: bool, card: str) -> Target:
    """The repository, there or to be made. Raises UserError within seconds where sending cannot work."""
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise _refused(to, "HF_HUB_OFFLINE is set")
    if not get_token():
        raise _refused(to, "there is no token: set HF_TOKEN, or log in with hf auth login")
    reason = reach.unreachable(constants.ENDPOINT)
    if reason is not None:
        raise _refused(to, f"{constants.ENDPOINT}: {reason}")
    api = HfApi()
    _asked(to, "the token", api.whoami)
    found = _asked(to, "the repository", lambda: _repository(api, to))
    if found is not None and private and not found.private:
        raise UserError(f"push.to={to}: this repository is public; say push.private=false if that is meant.")
    _asked(to, "the card", lambda: _check_card(card))
    return Target(api, to, found is not None, found.private if found is not None else private)


def send(target: Target, package: Package, message: str) -> str:
    """Make the repository where there is none, and one commit of all files; its address. Raises RunError."""
    from huggingface_hub import CommitOperationAdd

    try:
        if not target.exists:
            target.api.create_repo(target.to, private=target.private)
        # The hub's remarks on the card, which it has accepted.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            files = [CommitOperationAdd(one.name, _source(one)) for one in package.files]
            commit = target.api.create_commit(target.to, files, commit_message=message)
        _check_arrived(target, package, commit.oid)
    except RunError:
        raise
    except Exception as error:  # of sockets, TLS, and the client's own, which differ from version to version
        raise RunError(
            f"push.to={target.to}: sending failed ({first_line(error)}). Files arrive all together or not at all; the "
            "same command tries again."
        ) from error
    return str(commit.commit_url)


def _source(one: Sent) -> bytes | str:
    return one.content if isinstance(one.content, bytes) else str(one.content)


def _repository(api: Any, to: str) -> Any:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.repo_info(to)
    except RepositoryNotFoundError:
        return None


def _check_card(card: str) -> None:
    """Raises ValueError where the hub would refuse it."""
    from huggingface_hub import ModelCard

    ModelCard(card).validate()


def _check_arrived(target: Target, package: Package, commit: str) -> None:
    """Raises RunError where the hub has other weights now than those that were sent."""
    (found,) = target.api.get_paths_info(target.to, [WEIGHTS], revision=commit)
    if found.lfs is not None and found.lfs.sha256 != package.sha256:
        raise RunError(f"push.to={target.to}: {WEIGHTS} is there with another content than here; send it again.")


def _asked(to: str, what: str, ask: Callable[[], T]) -> T:
    """The answer to a question. Raises UserError for one that says no, or does not come."""
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # as above
            errors.append(error)

    attempt = threading.Thread(target=run, daemon=True)
    attempt.start()
    attempt.join(ANSWER_SECONDS)
    if answers:
        return answers[0]
    raise _refused(to, f"{what}: {first_line(errors[0]) if errors else f'no answer in {ANSWER_SECONDS:g} seconds'}")


def _refused(to: str, reason: str) -> UserError:
    return UserError(f"push.to={to}: {reason.rstrip('.')}. Nothing was sent; push.dry_run=true says what would be.")
