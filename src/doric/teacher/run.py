"""One use of a teacher: check everything, print the cost, deploy, let the generator run, and stop the app."""

import argparse
import urllib.error
from collections.abc import Mapping
from pathlib import Path

from doric.core import cli, gpu_prices
from doric.core.env_file import find_dotenv, load_variables
from doric.core.errors import SettingsError
from doric.core.settings import check_key
from doric.teacher.costs import check_confirmable, confirm, cost_bound, is_price_known
from doric.teacher.generator import CALLS, PLACEHOLDER, GeneratorCommand, call_settings, exit_status
from doric.teacher.key_hash import key_hash
from doric.teacher.modal_app import ModalApp, TeacherError, say
from doric.teacher.models import check_on_hub
from doric.teacher.processes import GRACE_SECONDS, Deadline, Signalled, Signals
from doric.teacher.readiness import SECONDS as READY_SECONDS
from doric.teacher.readiness import wait_until_ready

HOUR = 3600.0


def use(args: argparse.Namespace, folder: Path, script: Path) -> int:
    """Check everything, print the cost, use the teacher, and stop it. Returns the exit status.

    `folder` has teacher_app.py, and `script` is the generator.
    """
    generator = GeneratorCommand(script, tuple(args.generator), args.containers)
    if args.reports:
        planned = generator.check(call_settings(args.model or "", PLACEHOLDER, "placeholder"))
        print(planned.stdout, end="")
        if args.model and planned.returncode == 0 and generator.plans and is_price_known(args):
            cli.print_stderr(cost_bound(args))
        return exit_status(planned.returncode)
    variables = load_variables(find_dotenv(folder))
    key = check_key(variables.get("VLLM_API_KEY", "").strip(), "VLLM_API_KEY")  # an error of HTTP would show it
    if not key:
        raise SettingsError("VLLM_API_KEY is not set", hint="modal/README.md shows how to create it and its Secret.")
    check_confirmable(args)
    planned = generator.check(call_settings(args.model, PLACEHOLDER, key))
    if planned.returncode not in (0, cli.NOTHING_LEFT):
        return exit_status(planned.returncode)
    say(planned.stdout.rstrip())
    if planned.returncode == cli.NOTHING_LEFT:
        say("Every row is there already. Nothing was started.")
        return 0
    app = ModalApp(folder)
    app.check_free()
    token = check_model(args, variables, app)
    app.check_secret("VLLM_API_KEY", *["HF_TOKEN"] * token)
    cli.print_stderr(cost_bound(args))
    confirm(args.yes)
    app.check_free()  # another teacher may have been deployed while the question waited
    signals = Signals()
    try:
        try:
            return _teach(args, key, app, generator, signals)
        finally:
            signals.quiet = True
    except Signalled as signalled:
        return signalled.exit_status
    finally:
        app.stop()


def check_model(args: argparse.Namespace, variables: Mapping[str, str], app: ModalApp) -> bool:
    """Whether the container needs HF_TOKEN. Raises `SettingsError` if the model cannot be served.

    `args.revision` becomes the commit that was checked, if the Hub names it.
    """
    if args.model.startswith("/"):
        app.check_folder(args.model)
        return False
    try:
        found = check_on_hub(args.model, args.revision, variables)
    except OSError as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        say(f"note: the Hugging Face Hub could not be asked for {args.model} ({why}), so its name is not checked")
        return False
    args.revision = found.commit  # a branch may move before a later container starts
    if found.gib > (most := gpu_prices.memory(args.gpu)):
        hint = "Choose a --gpu with more memory, or several, such as H100:2."
        raise SettingsError(f"{args.model} has {found.gib:.0f} GiB of weights, {args.gpu} only {most} GiB", hint=hint)
    if 0 < found.context < args.max_model_len:
        hint = f"Give --max-model-len {found.context}, or choose another model."
        raise SettingsError(f"{args.model} has a context of only {found.context:,} tokens", hint=hint)
    say(f"The model is {args.model} at the commit {found.commit}.")
    return found.needs_token


def app_settings(args: argparse.Namespace, deadline: float, key: str) -> dict[str, str]:
    """The variables that teacher_app.py reads. An empty value hides the one in `.env`.

    None of them is a key, but one is a salted hash of it.
    """
    return {
        "DORIC_MODEL": args.model,
        "DORIC_REVISION": args.revision,
        "DORIC_BASE_MODEL": "",
        "DORIC_BASE_REVISION": "",
        "DORIC_GPU": args.gpu,
        "DORIC_PUBLIC": "",
        "MAX_MODEL_LEN": str(args.max_model_len),
        "FAST_BOOT": "0",
        "SCALEDOWN_MINUTES": "5",
        "MAX_CONTAINERS": str(args.containers),
        "TEACHER_DEADLINE": f"{deadline:.0f}",
        "TEACHER_CALLS": str(CALLS),
        "TEACHER_CORES": f"{args.cores:g}",
        "TEACHER_GIB": f"{args.memory:g}",
        "TEACHER_KEY_HASH": key_hash(key),
    }


def _deploy(args: argparse.Namespace, key: str, app: ModalApp, deadline: Deadline, signals: Signals) -> None:
    """Build the image if it has changed, and deploy the app. Raises `TeacherError`."""
    settings = app_settings(args, deadline.at, key)
    with signals.ended(lambda: app.deploy(settings)) as process:
        if code := deadline.wait(process):
            raise TeacherError(f"`modal deploy` ended with exit status {code}; its messages are above")
        if code is None:
            raise TeacherError("`modal deploy` did not end within --max-hours")


def _teach(args: argparse.Namespace, key: str, app: ModalApp, generator: GeneratorCommand, signals: Signals) -> int:
    """Deploy, wait for a container, generate. Returns the exit status of the generator."""
    deadline = Deadline.after(args.max_hours * HOUR)
    _deploy(args, key, app, deadline, signals)
    url = app.address()
    say(f"Deployed. Waiting for the first container of {url}/v1")
    wait_until_ready(url, key, min(deadline, Deadline.after(READY_SECONDS), key=Deadline.left), app)
    say("A container is ready. The generator starts.")
    return generator.run(call_settings(args.model, url, key), deadline.before(2 * GRACE_SECONDS), signals)
