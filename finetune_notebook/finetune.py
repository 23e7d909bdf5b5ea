"""Fine-tune a model without a notebook: train, compare the answers before and after, save, and check the saved files.

    uv run --group finetune python finetune_notebook/finetune.py --preset try

`--preset try` only shows that every step works: 12 steps with a small part of the data, about two minutes on two cores.
Without it, the preset of this machine is used (see section 2 of the notebook). Settings are flags, or lines such as
`max_steps = 170` of a TOML file for --config; a flag wins over the file, and the file over the preset. The run's folder
gets checkpoints, answers, saved models and metrics.json. Run the same command again to resume.

Exit status: 0 done, 1 a saved format is missing, 2 an error to fix or a check that failed, 130 stopped by Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from doric.core import cli
from doric.core.files import atomic_write
from doric.finetune.config import LISTS, TRY, Settings, read_settings, with_values

log = logging.getLogger("doric")
PROJECT = Path(__file__).resolve().parents[1]
PRESETS = {"try": TRY}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Settings that are not given are absent."""
    parser = cli.Parser(__doc__)
    parser.usage = "%(prog)s [--preset try] [--config FILE] [--report FILE] [--SETTING VALUE ...]"
    parser.add_argument("--preset", choices=PRESETS, help="settings for a purpose: try")
    parser.add_argument("--config", metavar="FILE", type=Path, help="a TOML file with settings")
    parser.add_argument("--metrics", metavar="FILE", type=Path, help="a copy of the run's metrics.json")
    parser.add_argument("--report", metavar="FILE", type=Path, help="an HTML page with curves, scores and answers")
    settings = parser.add_argument_group("settings")
    for field in fields(Settings):
        add_setting(settings, field.name, field.default, field.metadata)
    return parser.parse_args(argv)


def add_setting(group: Any, name: str, default: object, about: Mapping[str, Any]) -> None:  # noqa: ANN401 - argparse's private class
    """Add the flag of one setting; a boolean one can be negated with --no-."""
    flag = f"--{name.replace('_', '-')}"
    more: dict[str, Any] = {"default": argparse.SUPPRESS, "help": f"{about['help']} (default: {default or '-'})"}
    choices = about["choices"]
    if isinstance(default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **more)
    elif name in LISTS:  # the value is checked with the other settings
        group.add_argument(flag, metavar=",".join(choices), **more)
    elif choices:
        group.add_argument(flag, choices=choices, **more)
    else:
        kind: Any = type(default)
        read = kind if kind is str else cli.bounded(kind, about["least"], about["most"])
        group.add_argument(flag, type=read, metavar=kind.__name__.upper(), **more)


def chosen_settings(args: argparse.Namespace) -> Settings:
    """The settings from the preset, the file and the flags. Raises `DoricError`."""
    settings = with_values(Settings(), PRESETS.get(args.preset, {}))
    if args.config:
        settings = read_settings(args.config, settings)
    flags = {field.name: getattr(args, field.name) for field in fields(Settings) if hasattr(args, field.name)}
    return with_values(settings, flags)


def run(args: argparse.Namespace) -> int:
    """Train, save and check; write the metrics and the page; the exit status."""
    settings = chosen_settings(args)
    check_outputs(args)
    from doric.core.errors import SettingsError
    from doric.finetune import run as whole
    from doric.finetune.progress import ProgressDisplay

    shown = ProgressDisplay()
    hooks = whole.Hooks(on_stage=lambda stage: log.info("%s ...", stage), on_progress=shown)
    try:
        metrics = whole.run(settings, PROJECT, hooks)
    except ModuleNotFoundError as error:
        hint = "Start it with: uv run --group finetune python finetune_notebook/finetune.py"
        raise SettingsError(f"the package {error.name} is not installed", hint=hint) from error
    finally:
        shown.close()
    write_outputs(args, metrics)
    print(summary(metrics))
    return 1 if any("failed" in one for one in metrics["exports"]) else 0


def check_outputs(args: argparse.Namespace) -> None:
    """Raise `DoricError`, before any work, if --metrics or --report cannot be written or would replace another file."""
    from doric.core.errors import SettingsError
    from doric.core.files import check_writable, refuse_foreign_file
    from doric.finetune.run import KIND
    from doric.report.html import PAGE

    for path in filter(None, (args.metrics, args.report)):
        check_writable(path)
    if args.metrics and args.report and os.path.realpath(args.metrics) == os.path.realpath(args.report):
        raise SettingsError(f"--metrics and --report are the same file {args.report}", hint="Give each its own.")
    if args.metrics:
        refuse_foreign_file(args.metrics, KIND.encode(), "metrics file of a run")
    if args.report:
        refuse_foreign_file(args.report, PAGE, "page of this project")


def write_outputs(args: argparse.Namespace, metrics: dict[str, Any]) -> None:
    """Write --metrics and --report, if given."""
    from doric.finetune.run import as_json
    from doric.report.finetune_page import finetune_page
    from doric.report.html import write_page

    if args.metrics:
        atomic_write(args.metrics, as_json(metrics))
    if args.report:
        write_page(args.report, finetune_page(metrics))
        log.info("Report: %s", args.report)


def summary(metrics: dict[str, Any]) -> str:
    """The results in a few lines, for stdout."""
    loss, scores = metrics["held_out_loss"], metrics["scores"]
    lines = [f"held-out loss   {loss['before']:.3f} -> {loss['after']:.3f}  ({metrics['steps']} steps)"]
    if stage := metrics.get("preference"):
        lines.append(f"held margin     {stage['margin'][0]:.3f} -> {stage['margin'][1]:.3f}  ({stage['method']})")
    for name, before in scores["before"].items():
        lines.append(f"{name.replace('_', '-'):15} {before:.1%} -> {scores['after'][name]:.1%}")
    lines += [f"{name.strip('-') or 'merged':15} {place}" for name, place in metrics["saved"].items()]
    return "\n".join(lines)


main = cli.main(parse_args, run, interrupted="Stopped. Run the same command again to resume from the last checkpoint.")

if __name__ == "__main__":
    raise SystemExit(main())
