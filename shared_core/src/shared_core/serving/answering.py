"""One request of a page: the values to show, or one message that helps."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_core.errors import UsageError, UserError
from shared_core.serving.parts import Service

BROKEN = "This did not work, for a reason that is not yours. The terminal of the page says more."

_log = logging.getLogger(__name__)


class NotAnsweredError(Exception):
    """A request without an answer; its text is for the visitor."""


def answered(
    service: Service, folder: Path, source: str | None, values: Sequence[Any]
) -> list[Any]:
    """Answer a request.

    Args:
        service: what is asked.
        folder: for files of the answer; what an earlier answer left there is removed.
        source: the visitor's file, in a folder of the page's own; None: none was given.
        values: of the service's controls, in their order.

    Returns:
        The parts of the answer, in the order of the service's outputs; None for one that is not there.

    Raises:
        NotAnsweredError: holds the message; the reason is in the log if it is not the visitor's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if source is None:
            raise UsageError(f"Choose a {service.takes} first.")
        named = {
            control.name: value for control, value in zip(service.controls, values, strict=True)
        }
        found = service.answer(Path(source), folder, **named)
    except UserError as error:
        raise NotAnsweredError(_as_the_visitor_says(str(error), source)) from error
    except Exception as error:
        _log.exception("%s: no answer", source)
        raise NotAnsweredError(BROKEN) from error
    return [found.get(output.name) for output in service.outputs]


def _as_the_visitor_says(message: str, source: str | None) -> str:
    """A message with the visitor's name of the file, not with its place here."""
    return message if source is None else message.replace(source, Path(source).name)
