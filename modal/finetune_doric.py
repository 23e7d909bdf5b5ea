# # Fine-tune a model on a GPU that Modal rents by the second
#
#     uv run modal run --detach modal/finetune_doric.py --data datasets/doric_sharegpt.jsonl --set RUN_NAME=first
#
# Run it in the top folder of the project. The file runs twice: on your machine, where it reads the options, prints the
# largest possible cost and uploads the dataset, and in the container, where it calls `doric.finetune.job`. A container
# may be taken away at any time. Then Modal starts another one, which goes on from the last checkpoint.
# `README.md` in this folder explains the storage, the costs and the logs.

import argparse
import hashlib
import json
import logging
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import modal

from doric.core import cli, gpu_prices
from doric.core.text import counted

HOURS = 3600
MAX_HOURS = 24  # Modal stops every function after 24 h, but accepts larger numbers without a word
MAX_RETRIES = 10  # Modal's limit
GIB = 1024  # Modal counts memory in MiB

MAKE_DATA = "dataset_generation/transform_to_sharegpt.py makes one: see README.md, ShareGPT."
CORES = 8.0  # the most that the container may use

# ## Options
#
# `modal run` imports this file and builds the image before it calls the function below, so the options are read here:
# a mistake is reported, and the cost confirmed, before anything is built. In the container there are no options.


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """The options after the name of this file. Exits with status 2 if one of them is wrong."""
    parser = cli.Parser("Fine-tune a model on a GPU of Modal. The options come after the name of this file.")
    parser.prog = "modal run --detach modal/finetune_doric.py"
    parser.add_argument("--data", metavar="FILE", type=Path, help="the dataset, a ShareGPT file (required)")
    parser.add_argument("--set", metavar="NAME=VALUE", type=setting, action="append", default=[],
                        help="a setting of the notebook, for example MAX_STEPS=500; repeatable")  # fmt: skip
    parser.add_argument("--gpu", metavar="LIST", type=gpus, default=["L40S", "A100-80GB"],
                        help="GPU types, the first that is free is used (default: L40S,A100-80GB)")  # fmt: skip
    parser.add_argument("--timeout", metavar="HOURS", type=hours, default=6.0,
                        help="the longest time of one attempt, at most 24 (default: 6)")  # fmt: skip
    parser.add_argument("--attempts", metavar="N", type=cli.bounded(int, 1, MAX_RETRIES + 1), default=4,
                        help="the most starts, at most 11, also after a GPU was taken away (default: 4)")  # fmt: skip
    parser.add_argument("--memory", metavar="GIB", type=cli.positive_float, default=64.0,
                        help="the most main memory; merging needs twice the model's size (default: 64)")  # fmt: skip
    parser.add_argument(
        "--rate", metavar="USD", type=cli.positive_float, help="the price of one GPU per hour, if it has changed"
    )
    parser.add_argument("--secret", metavar="NAME", help="a Modal Secret with HF_TOKEN, WANDB_API_KEY and so on")
    parser.add_argument("--yes", action="store_true", help="do not ask before the costs begin")
    options = parser.parse_args(argv)
    if options.rate is None and (
        unknown := [gpu for gpu in options.gpu if gpu.partition(":")[0] not in gpu_prices.GPUS]
    ):
        parser.error(
            f"the price of {unknown[0]} is not in the table: run `modal billing rates` and give it with --rate"
        )
    return options


def setting(text: str) -> tuple[str, object]:
    """A setting from NAME=VALUE. The value is JSON, and anything else is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, {"True": True, "False": False}.get(value, value)


def gpus(text: str) -> list[str]:
    """The GPU types, in capitals, each with an optional number of GPUs such as A100-80GB:2."""
    return [gpu_prices.gpu_type(part) for part in text.split(",")]


def hours(text: str) -> float:
    """The time of one attempt in hours. An `h` at the end is allowed."""
    number = cli.positive_float(text.removesuffix("h"))
    if number > MAX_HOURS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MAX_HOURS} h, after which Modal stops every function")
    return number


def cost_per_hour(options: argparse.Namespace) -> float:
    """The most that one hour costs, in dollars: the dearest GPU of the list, with all cores and all memory in use."""
    counted = [(name, int(count or 1)) for name, _, count in (gpu.partition(":") for gpu in options.gpu)]
    dearest = max((options.rate or gpu_prices.GPUS[name]) * count for name, count in counted)
    return dearest + CORES * gpu_prices.CORE + options.memory * gpu_prices.GIB


def cost_bound(options: argparse.Namespace) -> str:
    """The largest possible cost of the job, in words."""
    each = cost_per_hour(options)
    most = each * options.timeout * options.attempts
    source = "your --rate" if options.rate else f"prices of {gpu_prices.DATE}"
    return (
        f"at most ${most:.2f}: ${each:.2f} per hour x {options.timeout:g} h x {options.attempts} attempts ({source}; "
        "`uv run modal billing rates` prints today's)"
    )


def own_arguments(argv: Sequence[str]) -> list[str] | None:
    """What follows the name of this file in `modal run`; None if the file is deployed or imported instead."""
    here = [at for at, text in enumerate(argv) if text.partition("::")[0].endswith(Path(__file__).name)]
    return list(argv[here[0] + 1 :]) if here and "run" in argv[: here[0]] else None


def stop(message: str, hint: str = "") -> SystemExit:
    """Print an error and its hint; the exception that ends the program with status 2."""
    print(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return SystemExit(2)


def check(options: argparse.Namespace) -> None:
    """Check the dataset and the settings, print the cost and ask for confirmation. Exits with status 2 or 1."""
    from doric.core.errors import DoricError
    from doric.finetune.job import count_chats, job_settings

    if options.data is None:
        raise stop("--data FILE is required", MAKE_DATA)
    if not options.data.is_file():
        raise stop(f"--data {options.data}: there is no such file", MAKE_DATA)
    try:
        settings = job_settings(dict(options.set))
        chats = count_chats(options.data, settings)
    except DoricError as error:
        raise stop(error.message, error.hint) from None
    print(
        f"The run {settings.run_name} with {counted(chats, 'chat')} on {' or '.join(options.gpu)} costs "
        f"{cost_bound(options)}.",
        file=sys.stderr,
    )
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise stop("the cost is not confirmed", "add --yes")
    if not cli.says_yes("Start?"):
        print("Nothing was started.", file=sys.stderr)
        raise SystemExit(1)


given = own_arguments(sys.argv) if modal.is_local() else None
options = parse_args(given or [])
if given is not None:
    check(options)

# ## The image
#
# It has the packages of `uv.lock`, in the versions that were tested together, and a C compiler for Triton's kernels.
# The project's code is added when the container starts, with its language data.

PROJECT = Path(__file__).parents[1]
HOME = "/root"  # of the container's user on Modal, where Modal puts the code; not a folder of this machine
image = (
    modal.Image.debian_slim(python_version="3.12")
    .apt_install("build-essential")
    .uv_sync(str(PROJECT), groups=["finetune"], extra_options="--no-default-groups", uv_version="0.13.9")
    .env({"HF_XET_HIGH_PERFORMANCE": "1", "PYTHONPATH": HOME})
    .add_local_python_source("doric", ignore=["**/__pycache__", "**/*.pyc", "**/*.bak*"])
)

# ## Storage
#
# Checkpoints, answers and metrics are in `doric-runs`, the dataset in `doric-data`. The finished model goes to
# `doric-models`, from which `vllm_doric.py` serves it. Both programs share the cache of downloaded base models.

runs = modal.Volume.from_name("doric-runs", create_if_missing=True)
data = modal.Volume.from_name("doric-data", create_if_missing=True)
models = modal.Volume.from_name("doric-models", create_if_missing=True)
volumes: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    "/runs": runs,
    "/data": data,
    "/models": models,
    f"{HOME}/.cache/huggingface": modal.Volume.from_name("doric-hf-cache", create_if_missing=True),
}


def commit() -> None:
    """Make everything written to the runs and the models permanent. If that fails, the next commit has it too."""
    for volume in (runs, models):
        try:
            volume.commit()
        except modal.exception.Error as error:
            print(f"warning: the Volume could not be committed: {error}", flush=True)


# ## The job
#
# Each attempt has a new container, so a GPU error of one attempt is not met by the next. `timeout` is that of one
# attempt. Errors that you must fix are returned and not raised, so that they are not tried again.

app = modal.App("doric-finetune")


@app.function(
    image=image,
    gpu=options.gpu,
    cpu=(2.0, CORES),
    memory=(min(16, int(options.memory)) * GIB, int(options.memory * GIB)),
    volumes=volumes,
    secrets=[modal.Secret.from_name(options.secret)] if options.secret else [],
    timeout=int(options.timeout * HOURS),
    startup_timeout=20 * 60,
    retries=modal.Retries(max_retries=options.attempts - 1, initial_delay=0.0),
    single_use_containers=True,
)
def train(job: dict[str, Any]) -> dict[str, Any]:
    """Run one attempt of the job in the container; the results, or an error for the user."""
    from doric.finetune.job import Job, Storage, run_job

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    storage = Storage(runs=Path("/runs"), data=Path("/data"), models=Path("/models"), commit=commit)
    return run_job(Job(**job), storage)


# ## Start
#
# The dataset is uploaded under the hash of its content, so that a changed file is another file.


@app.local_entrypoint()
def main(*arguments: str) -> None:
    """Upload the dataset, start the job, show its log, and print the command that serves the model."""
    from doric.finetune.job import Job

    content = options.data.read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    with data.batch_upload(force=True) as batch:
        batch.put_file(options.data, f"/{name}")
    job = Job(id=uuid.uuid4().hex, settings=dict(options.set), data=name, attempts=options.attempts)
    print(
        "The job has started. With --detach it goes on if you close this terminal; see:\n"
        "uv run modal app logs doric-finetune -f"
    )
    report(train.remote(asdict(job)))


def report(results: dict[str, Any]) -> None:
    """Print the results. Exits with status 2 for an error, and with 1 if one of the formats could not be saved."""
    if "error" in results:
        raise stop(results["error"], results["hint"])
    loss = results["held_out_loss"]
    print(f"\nheld-out loss {loss['before']:.3f} -> {loss['after']:.3f} after {results['steps']} steps")
    print(f"The model is {results['model']} in the Volume doric-models. Serve it:\n\n{results['deploy']}\n")
    if results["failed"]:
        print(f"warning: not saved: {', '.join(results['failed'])}", file=sys.stderr)
        raise SystemExit(1)
