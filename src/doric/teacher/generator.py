"""The dataset generator as a process of its own: its flags, the check before anything is paid, and the run."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from doric.teacher.modal_app import say
from doric.teacher.processes import Deadline, Signals

CALLS = 64
"""Calls in flight per container."""
PLACEHOLDER = "https://doric-teacher.modal.run"
"""Stands for the address of the server while the generator only plans."""
REPORTS = ("--help", "--version", "--dry-run", "--check")
"""Flags of the generator with which it only prints something."""
OWN = "is set by this command"
FOREIGN = {
    "--base-url": OWN, "--model": OWN, "--backend": OWN, "--merge": "needs no model: run the generator alone",
    "--batch": "is for a provider's Batches API", "--batch-files": "needs no server: run the generator alone",
}  # fmt: skip
"""Flags of the generator that cannot be given, and why."""
OTHERS = ("--judge-model", "--judge-base-url", "--max-concurrency")
"""Flags of the generator whose values are read."""


def full_name(text: str) -> str:
    """The flag of the generator that a beginning of it means, as argparse allows; the text itself if it is no such."""
    name = text.partition("=")[0]
    known = (*FOREIGN, *REPORTS, *OTHERS)
    found = [flag for flag in known if flag == name or (len(name) > 2 and flag.startswith(name))]
    return name if name in known else next(iter(found), text)


def value_of(flag: str, given: Sequence[str]) -> str | None:
    """The value of a flag among the generator's; None if it is not given."""
    found = None
    for at, text in enumerate(given):
        if full_name(text) == flag:
            found = text.partition("=")[2] if "=" in text else next(iter(given[at + 1 :]), "")
    return found


def why_refused(given: Sequence[str], model: str | None) -> str:
    """Why the flags of the generator cannot be used with this model of the teacher, if it is known; "" if they can."""
    names = [full_name(text) for text in given]
    if name := next((name for name in FOREIGN if name in names), ""):
        return f"{name} after -- {FOREIGN[name]}"
    judge, where = (value_of(name, given) for name in ("--judge-model", "--judge-base-url"))
    if model is None or only_prints(given) or judge in (None, model) or where is not None or "://" in judge:
        return ""
    return f"--judge-model {judge} needs --judge-base-url, because the teacher serves {model} only"


def only_prints(given: Sequence[str]) -> bool:
    """Whether the generator only prints something with these flags, so that no teacher is needed."""
    return any(full_name(text) in REPORTS or re.match("-h", text) for text in given)


def call_settings(model: str, url: str, key: str) -> dict[str, str]:
    """The generator's variables for the teacher. What `.env` has for another model is hidden by an empty value."""
    call = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "MODEL": model}
    return {**os.environ, **call, "MODEL_PROVIDER": "", "EXTRA_BODY": ""}


def exit_status(code: int) -> int:
    """The exit status for the code of a process, which is negative if a signal has ended it."""
    return code if code >= 0 else 128 - code


@dataclass(frozen=True, slots=True)
class GeneratorCommand:
    """The generator's script with the flags that were `given` for it, for a teacher of so many `containers`."""

    script: Path
    given: tuple[str, ...]
    containers: int

    @property
    def plans(self) -> bool:
        """Whether it only prints its plan."""
        names = [full_name(text) for text in self.given]
        return ("--dry-run" in names or "--check" in names) and not {"--help", "--version", "-h"} & {*names}

    def flags(self) -> list[str]:
        """Its flags: those given, and as many calls in flight as the containers take, if not given."""
        if value_of("--max-concurrency", self.given) is not None:
            return list(self.given)
        return ["--max-concurrency", str(CALLS * self.containers), *self.given]

    def check(self, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Let it check its flags and make its plan, without a call or a file. Its errors are printed."""
        return subprocess.run(
            self._command("--check"),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this command only, which ends the other one
        )

    def run(self, env: Mapping[str, str], deadline: Deadline, signals: Signals) -> int:
        """Run it until it ends or the time is over. Returns its exit status, 1 if the time was over."""
        command = self._command()
        with signals.ended(lambda: subprocess.Popen(command, env=dict(env), start_new_session=True)) as process:
            code = deadline.wait(process)
            if code is None:
                say("The time of --max-hours is over. The same command resumes the run.")
                return 1
        return exit_status(code)

    def _command(self, *more: str) -> list[str]:
        return [sys.executable, str(self.script), *more, *self.flags()]
