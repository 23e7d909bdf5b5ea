"""The teacher's app on Modal, through Modal's own command: checks, deployment, address, failed starts, and the stop."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from doric.core.cli import print_stderr
from doric.core.errors import DoricError, SettingsError

APP, SERVER, VOLUME, SECRET = "doric-teacher", "Teacher", "doric-models", "doric-vllm"
STOP = f"uv run modal app stop --yes {APP}"
LOGS = f"uv run modal app logs {APP}"
MODAL = (sys.executable, "-m", "modal")
FIND_ADDRESS = f"import modal; print(modal.Server.from_name({APP!r}, {SERVER!r}).get_url())"
FIND_SECRET = f"import sys, modal; modal.Secret.from_name({SECRET!r}, required_keys=sys.argv[1:]).hydrate()"
FAILED = "the teacher's container did not start:"
"""With this, teacher_app.py begins the line of the log that says why a container failed."""
WRONG_KEY = "the Secret doric-vllm has another VLLM_API_KEY"
"""With this, teacher_app.py begins the reason if the key of its Secret is not that of the machine that deployed."""
ANSWER_SECONDS = 120.0
TRIES = 4
"""How often Modal is told to stop the app. After each time it is asked up to CHECKS times whether it has."""
CHECKS, PAUSE = 5, 3.0
STDERR = 2
"""Where Modal's messages go: stdout is for the generator."""
OFF = ("stopped", "disabled")
LOG_LINES = 12


class TeacherError(DoricError):
    """The teacher could not be started or stopped; the exit status is 1."""

    exit_status = 1


def say(text: str) -> None:
    """Print a line for people; nothing happens if the terminal is gone, because the app must be stopped then too."""
    with suppress(OSError, ValueError):
        print_stderr(text)


def ask(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """The result of a short command of Modal. Signals do not reach it. No answer in time, or no start, is status 1."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {ANSWER_SECONDS:g} s")
    except OSError as error:  # no memory, or too many open files: the stop is tried again
        return subprocess.CompletedProcess(command, 1, "", f"Modal's command cannot be started: {error.strerror}")


def last_line(text: str) -> str:
    """The last line of a program's output that is not empty, without a frame around it and the class of an error."""
    lines = [line.strip(" \t│|╰╯─") for line in text.splitlines()]
    return re.sub(r"^modal\.exception\.\w+: ", "", next((line for line in reversed(lines) if line), ""))


class ModalApp:
    """The app with the teacher. Modal's commands run in `folder`, which has teacher_app.py."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return ask([*MODAL, *arguments], self._folder)

    def running(self) -> list[str]:
        """The ids of the apps of this name that Modal does not list as stopped. Raises `TeacherError`."""
        done = self._ask("app", "list", "--json")
        try:
            if done.returncode:
                raise ValueError(last_line(done.stderr or done.stdout))
            rows = [row for row in json.loads(done.stdout) if row["description"] == APP]
            return [str(row.get("app_id", "")) for row in rows if row["state"] not in OFF]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "`uv run modal token new` logs in."
            raise TeacherError(f"Modal did not list its apps: {error}", hint=hint) from None

    def check_free(self) -> None:
        """Raise `SettingsError` if the app is running already, so that it is neither replaced nor stopped."""
        try:
            running = self.running()
        except TeacherError as error:  # nothing was started, so the user can correct it
            raise SettingsError(error.message, hint=error.hint) from None
        if running:
            raise SettingsError(f"the app {APP} is already running", hint=f"Wait for its end, or stop it with: {STOP}")

    def check_secret(self, *names: str) -> None:
        """Raise `SettingsError` if the Secret is missing or has no such variables."""
        done = ask([sys.executable, "-c", FIND_SECRET, *names], self._folder)
        if done.returncode:
            hint = f"It needs {' and '.join(names)}: modal/README.md, Quick start, shows how to create it."
            why = last_line(done.stderr) or "no answer"
            raise SettingsError(f"the Secret {SECRET} of Modal cannot be used: {why}", hint=hint)

    def check_folder(self, model: str) -> None:
        """Raise `SettingsError` if `model`, a folder such as /models/teacher, has no model in the Volume."""
        path = model.removeprefix("/models")
        done = self._ask("volume", "ls", "--json", VOLUME, path)
        upload = f"Upload it with: uv run modal volume put {VOLUME} FOLDER {path}"
        if done.returncode:
            why = last_line(done.stderr or done.stdout) or "no answer"
            raise SettingsError(f"there is no {path} in the Volume {VOLUME}: {why}", hint=upload)
        with suppress(ValueError, KeyError, TypeError):
            names = {Path(row["filename"]).name for row in json.loads(done.stdout)}
            if "config.json" not in names and "adapter_config.json" in names:
                hint = "Merge it into its base model first."
                raise SettingsError(f"{model} is a LoRA adapter, not a model", hint=hint)
            if not names & {"config.json", "params.json"}:
                raise SettingsError(f"{model} in the Volume {VOLUME} has no config.json", hint=upload)

    def deploy(self, settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Modal's command that builds the image if it has changed, and deploys the app with these variables."""
        return subprocess.Popen(
            [*MODAL, "deploy", "teacher_app.py"],
            cwd=self._folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            start_new_session=True,
        )

    def address(self) -> str:
        """The address of the server, without a slash at its end. Raises `TeacherError`."""
        done = ask([sys.executable, "-c", FIND_ADDRESS], self._folder)
        address = last_line(done.stdout)
        if done.returncode or not address.startswith("http"):
            raise TeacherError(f"Modal gave no address: {last_line(done.stderr) or address or 'no answer'}")
        return address.rstrip("/")

    def failed_starts(self) -> tuple[int, str]:
        """How many containers have failed, and why the last one did; "" if not known.

        Containers say it in the log. Modal counts also those that could not say it, but perhaps later.
        """
        done = self._ask("app", "logs", APP, "--tail", "1000")
        said = [line for line in done.stdout.splitlines() if FAILED in line] if not done.returncode else []
        counted = 0
        done = self._ask("app", "stats", APP, "--json")
        with suppress(ValueError, KeyError, TypeError):
            counted = int(json.loads(done.stdout)["servers"]["total"]["containers"]["errors"])
        return max(len(said), counted), said[-1].partition(FAILED)[2].strip() if said else ""

    def log(self) -> str:
        """The last lines of the containers' log; "" if Modal gives none."""
        done = self._ask("app", "logs", APP, "--tail", "100")
        return "\n".join(done.stdout.rstrip().splitlines()[-LOG_LINES:]) if not done.returncode else ""

    def stop(self) -> None:
        """Stop the app and all its containers. Raises `TeacherError` unless Modal then says that it is stopped."""
        say("Stopping the app.")
        why, targets = "", [APP]
        for attempt in range(TRIES):
            if attempt:
                say(f"The app is not stopped yet ({why}). Trying again. By hand: {STOP}")
                time.sleep(PAUSE * 2**attempt)
            answers = [self._ask("app", "stop", "--yes", target) for target in targets]
            said = [last_line(done.stderr or done.stdout) for done in answers if done.returncode]
            try:
                for check in range(CHECKS):
                    time.sleep(PAUSE if check else 0)
                    if not (ids := self.running()):
                        say(f"The app {APP} is stopped.")
                        return
                    why = next(filter(None, said), "Modal still lists it")
                    targets = [APP, *filter(None, ids)]  # an app that is not published yet has no name, only an id
            except TeacherError as error:
                why = error.message
        raise TeacherError(f"the app {APP} may still be running and cost money: {why}", hint=f"Stop it with: {STOP}")
