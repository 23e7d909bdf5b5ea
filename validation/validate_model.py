"""Score any OpenAI-compatible endpoint on prompts it was never trained on: a table, a JSON file and a page.

    uv run python validation/validate_model.py --base-url http://localhost:8000/v1 --out datasets/validation.json

--baseline sets another model beside it: a model at the same address, an address, MODEL@ADDRESS, or the --out of an
earlier run. --judge-model has a third model say which answers are better, every pair in both orders.

OPENAI_API_KEY goes to the server under test and to that of OPENAI_BASE_URL (where unset, api.openai.com). A baseline or
a judge at any other server gets BASELINE_API_KEY or JUDGE_API_KEY, if set.

Answers are kept as they come, in OUT.answers.jsonl: a run that stops, however it stops, goes on where it was when the
same command is given again. A call that fails for good counts as a failure in every share, and the report says so.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doric.core.settings import Settings
    from doric.evaluation.exam import Evaluation, Rules
    from doric.evaluation.run import Manner, Result
    from doric.quality.decontamination import HeldOutPrompt

log = logging.getLogger("doric")
MOST = 1_000_000
"""No number of the command line means anything beyond this one."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    who = parser.add_argument_group("who is asked")
    who.add_argument("--base-url", metavar="URL", help="address of the endpoint (else OPENAI_BASE_URL)")
    who.add_argument("--model", help="model name (else MODEL, else the only one there)")
    who.add_argument("--baseline", metavar="WHO", help="MODEL, URL, MODEL@URL or a saved result")
    who.add_argument("--judge-model", metavar="WHO", help="MODEL, URL or MODEL@URL that compares with the baseline")
    what = parser.add_argument_group("what is asked")
    what.add_argument("--limit", type=int, metavar="N", help="only the first N prompts, the buckets taking turns")
    what.add_argument("--max-tokens", type=int, default=320, metavar="N", help="of an answer (default: %(default)s)")
    what.add_argument("--temperature", type=float, default=0.7, help="sampling temperature (default: %(default)s)")
    what.add_argument("--seed", type=int, default=0, help="for servers that heed one (default: %(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument("--concurrency", type=int, default=8, metavar="N", help="calls in flight (default: %(default)s)")
    how.add_argument("--timeout", type=float, default=300.0, metavar="S", help="of one call (default: %(default)s)")
    how.add_argument("--max-retries", type=int, default=3, metavar="N", help="faults forgiven a turn (default: 3)")
    out = parser.add_argument_group("what comes of it")
    out.add_argument("--out", type=Path, default=Path("datasets/validation.json"), help="(default: %(default)s)")
    out.add_argument("--overwrite", action="store_true", help="ask everything again")
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> int:
    """Examine, compare, judge, report; the exit status."""
    from doric.core.errors import SettingsError
    from doric.core.files import discard_stdout
    from doric.core.settings import credentials_hint, load_settings
    from doric.core.text import printable
    from doric.evaluation import aggregate as scoreboard
    from doric.evaluation import exam, judge
    from doric.evaluation import run as candidate
    from doric.report import scoreboard_table as table
    from doric.report.scoreboard_page import write_scoreboard_report

    manner, page = _manner(args), _page(args.out)
    prompts = exam.chosen(args.limit)
    settings = load_settings(model=args.model, base_url=args.base_url)
    if not settings.given:
        raise SettingsError("there is no model to examine: no key and no base URL", hint=credentials_hint(settings))
    rival, umpire = _rival(args, settings, prompts, manner.rules), _umpire(args, settings)

    async def examined(one: "Settings", journal: str) -> "Result":
        path = Path(f"{args.out}.{journal}.jsonl")
        return await candidate.examine(one, prompts, manner, path, fresh=args.overwrite, announce=_announce)

    ours = await examined(settings, "answers")
    result = ours.as_json()
    shown = [table.table(result)]
    if rival is not None:
        theirs = rival if isinstance(rival, candidate.Result) else await examined(rival, "baseline")
        result |= {"baseline": theirs.as_json(), "changes": scoreboard.compare(ours.marked, theirs.marked)}
        shown.append(table.changes(result))
        if umpire is not None:
            path = Path(f"{args.out}.judge.jsonl")
            cases = judge.pairs(ours, theirs)
            result["judge"] = await judge.judged(umpire, cases, manner, path, fresh=args.overwrite)
            shown.append(table.verdicts(result))
    candidate.save(result, args.out)
    write_scoreboard_report(result, page)
    print(f"figures in {args.out}, page in {page}\n", file=sys.stderr)
    try:
        print(printable("\n\n".join(shown)), flush=True)
    except BrokenPipeError:
        discard_stdout()
    return 0


def _manner(args: argparse.Namespace) -> "Manner":
    from doric.core.errors import SettingsError
    from doric.evaluation.exam import Rules
    from doric.evaluation.run import Manner

    for flag in ("limit", "max_tokens", "concurrency", "timeout"):
        if (value := getattr(args, flag)) is not None and not 0 < value <= MOST:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint=f"Give a number from above 0 to {MOST}.")
    for flag in ("max_retries", "temperature"):
        if not 0 <= (value := getattr(args, flag)) <= MOST:  # nor is "nan" between them
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint=f"Give a number from 0 to {MOST}.")
    rules = Rules(args.max_tokens, args.temperature, args.seed)
    return Manner(rules, args.concurrency, args.timeout, args.max_retries)


def _page(out: Path) -> Path:
    from doric.core.errors import SettingsError
    from doric.core.files import refuse_foreign_file
    from doric.evaluation.run import KIND
    from doric.report.html import PAGE

    if (page := out.with_suffix(".html")) == out:
        raise SettingsError(f"--out is {out}, but the result is JSON", hint="The page is written beside it.")
    refuse_foreign_file(out, KIND.encode(), "result of an examination")
    refuse_foreign_file(page, PAGE, "page of one")
    return page


def _rival(
    args: argparse.Namespace, own: "Settings", prompts: "Sequence[HeldOutPrompt]", rules: "Rules"
) -> "Settings | Result | None":
    from doric.evaluation.baseline import compare_with, saved
    from doric.evaluation.run import located

    if args.baseline is None:
        return None
    path = Path(args.baseline)
    if path.suffix != ".json" and not path.is_file():
        return located(args.baseline, own, "BASELINE_API_KEY")
    earlier = saved(path)
    compare_with(earlier, prompts, rules, path)
    return earlier


def _umpire(args: argparse.Namespace, own: "Settings") -> "Settings | None":
    from doric.core.errors import SettingsError
    from doric.evaluation.run import located

    if args.judge_model is None:
        return None
    if args.baseline is None:
        raise SettingsError("--judge-model compares two models", hint="Name the other with --baseline.")
    return located(args.judge_model, own, "JUDGE_API_KEY")


def _announce(model: str, exam: "Evaluation") -> Callable[[], None]:
    from doric.core.cli import ProgressBar

    log.info("Asking %s: %d of %d turns to go.", model, exam.turns - exam.done, exam.turns)
    faults = lambda: f"faults {sum(exam.faults.values())}"  # noqa: E731 - one line says it
    progress = ProgressBar(exam.turns, exam.done, every=50, shown=True, note=faults)
    return progress.advance


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 done, 2 something to mend, 130 interrupted."""
    args = parse_args(argv)
    try:
        from doric.core.cli import report_error, setup_logging
        from doric.core.errors import DoricError
    except ModuleNotFoundError:  # this script does not lie beside the package, as others do
        print("error: the package doric is not installed", file=sys.stderr)
        print("hint: Give the command with uv: uv run python validation/validate_model.py …", file=sys.stderr)
        return 2

    setup_logging("INFO")
    try:
        return asyncio.run(run(args))
    except DoricError as error:
        return report_error(error)
    except KeyboardInterrupt:
        print("Interrupted; run the same command to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
