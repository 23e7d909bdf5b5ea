"""Waiting for the first container of the teacher: it is ready, refuses the key, or has failed."""

import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO

from doric.teacher.key_hash import differing_keys_hint
from doric.teacher.modal_app import LOGS, WRONG_KEY, ModalApp, TeacherError, say
from doric.teacher.processes import Deadline

SECONDS = 30 * 60.0
"""How long the first container may take: waiting for a free GPU, and 20 minutes to load the model."""
PAUSE, WATCH_SECONDS = 3.0, 20.0
"""The seconds between two calls of a server that is not ready, and between two questions for failed containers."""
FAILURES = 2
"""After so many failed starts, the run ends: the next ones would fail for the same reason."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error, so that the key goes to no other address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Do not follow."""


def wait_until_ready(url: str, key: str, deadline: Deadline, app: ModalApp) -> None:
    """Return when the server lists its models. The first call starts a container. Raises `TeacherError`.

    Modal answers 503 while there is no container, and starts the next one if one has failed. So Modal is asked for
    failures too.
    """
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    failed, watch = 0, Deadline.after(WATCH_SECONDS)
    while deadline.left() > 0:
        try:
            with urllib.request.build_opener(NoRedirects).open(request, timeout=30):
                return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise TeacherError(f"{url} refused VLLM_API_KEY", hint=differing_keys_hint()) from None
        except (OSError, HTTPException):
            pass  # not reachable yet
        if watch.left() <= 0:
            failed, watch = check_starts(app, key, failed), Deadline.after(WATCH_SECONDS)
        time.sleep(PAUSE)
    say(app.log().replace(key, "[key]"))
    raise TeacherError(f"no container was ready in time at {url}", hint=f"See: {LOGS}")


def check_starts(app: ModalApp, key: str, known: int) -> int:
    """How many containers have failed at their start. Raises `TeacherError` if there are FAILURES of them.

    One is enough if its Secret has another key.
    """
    failed, reason = app.failed_starts()
    if reason.startswith(WRONG_KEY):  # the next containers would fail too
        raise TeacherError(f"{WRONG_KEY} than this machine", hint=differing_keys_hint())
    reason = (reason or "Modal names no reason").replace(key, "[key]")
    if failed >= FAILURES:
        say(app.log().replace(key, "[key]"))
        raise TeacherError(f"{failed} containers failed at their start: {reason}", hint=f"See: {LOGS}")
    if failed > known:
        say(f"A container failed at its start: {reason}. Modal starts another one.")
    return failed
