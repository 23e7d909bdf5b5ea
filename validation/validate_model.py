"""Score a model on prompts that are not in the training data: a table, a JSON file and a page.

The model is on an OpenAI-compatible server, or in a folder on this machine (or on the Hugging Face Hub):

    uv run python validation/validate_model.py --base-url http://localhost:8000/v1 --out datasets/validation.json
    uv run --group finetune python validation/validate_model.py --checkpoint finetune_notebook/runs/first/export/merged

--baseline compares it with another model: a model at the same URL, a URL, MODEL@URL, or the --out of an earlier run.
With --judge-model, a third model compares the answers of the two, every pair in both orders.

OPENAI_API_KEY is sent to the server under test and to the server of OPENAI_BASE_URL (if unset: api.openai.com). A
baseline or a judge on any other server gets BASELINE_API_KEY or JUDGE_API_KEY, if set.

Answers are written to OUT.answers.jsonl when they arrive. If a run stops for any reason, give the same command again to
resume it. A call that still fails after all retries counts as a failure in every share, and the report says so.

Exit status: 0 done, 1 no turn got an answer, 2 an error to fix, 130 stopped by Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

LARGEST = 1_000_000
EXTRA_BODY = "fields added to every request, for instance '{\"enable_thinking\": false}' (else EXTRA_BODY)"
AT_ONCE = "concurrent calls, or answers that a --checkpoint writes together (default: 8)"
COUNT, RETRIES = cli.bounded(int, 1, LARGEST), cli.bounded(int, 0, LARGEST)
SECONDS, NUMBER = cli.bounded(float, 0, LARGEST, above=True), cli.bounded(float, 0, LARGEST)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    models = parser.add_argument_group("models")
    models.add_argument("--base-url", metavar="URL", help="URL of the endpoint (else OPENAI_BASE_URL)")
    models.add_argument("--checkpoint", metavar="FOLDER", help="a model on this machine, or its name on the Hub")
    models.add_argument("--model", help="model name (else MODEL, else the only model of the server)")
    models.add_argument("--baseline", metavar="MODEL", help="MODEL, URL, MODEL@URL or a saved result to compare with")
    models.add_argument("--judge-model", metavar="MODEL", help="MODEL, URL or MODEL@URL of the judge")
    models.add_argument("--extra-body", metavar="JSON", help=EXTRA_BODY)
    more = "the same for the %s (default: that of the model, if it is on the same server)"
    models.add_argument("--baseline-extra-body", metavar="JSON", help=more % "baseline")
    models.add_argument("--judge-extra-body", metavar="JSON", help=more % "judge")
    prompts = parser.add_argument_group("prompts and sampling")
    prompts.add_argument("--limit", type=COUNT, metavar="N", help="only the first N prompts, some of each bucket")
    prompts.add_argument("--max-tokens", type=COUNT, default=320, metavar="N", help="tokens per answer (default: 320)")
    prompts.add_argument(
        "--temperature", type=NUMBER, default=0.7, metavar="T", help="sampling temperature (default: 0.7)"
    )
    prompts.add_argument(
        "--seed", type=cli.whole_number, default=0, metavar="N", help="for servers that support it (default: 0)"
    )
    calls = parser.add_argument_group("calls")
    calls.add_argument("--concurrency", type=COUNT, default=8, metavar="N", help=AT_ONCE)
    calls.add_argument("--timeout", type=SECONDS, default=300.0, metavar="S", help="seconds per call (default: 300)")
    calls.add_argument("--max-retries", type=RETRIES, default=3, metavar="N", help="retries per turn (default: 3)")
    calls.add_argument(
        "--max-rejected",
        type=RETRIES,
        default=50,
        metavar="N",
        help="stop if none of N verdicts can be read, or a sixth of N answers have no words (default: 50; 0: never)",
    )
    output = parser.add_argument_group("output")
    default = Path("datasets/validation.json")
    output.add_argument("--out", type=Path, default=default, metavar="FILE", help="result (default: %(default)s)")
    output.add_argument(
        "--minimal-pairs", type=Path, metavar="FILE", help="show the result of score_minimal_pairs.py on the page too"
    )
    output.add_argument("--overwrite", action="store_true", help="ask everything again; copies are kept")
    cli.add_serving_flags(parser)
    args = parser.parse_args(argv)
    if args.checkpoint and (args.base_url or args.model or args.service_tier or args.reasoning_effort):
        parser.error("--checkpoint is a model on this machine: leave out the flags for a server's model")
    return args


async def run(args: argparse.Namespace) -> int:
    """Evaluate, compare, judge and report. Returns 0, or 1 if no turn got an answer."""
    from doric.core.errors import SettingsError
    from doric.core.files import atomic_write, check_writable, locked, refuse_foreign_file
    from doric.core.regular_files import named_output
    from doric.core.resume import PLAN, behind_link
    from doric.core.text import printable
    from doric.evaluation import models
    from doric.evaluation import run as evaluation
    from doric.evaluation.aggregate import KIND, dump_result
    from doric.evaluation.minimal_pairs import load_pairs_result
    from doric.lint.files import refuse_broken_data
    from doric.report.html import PAGE, write_page
    from doric.report.scoreboard_page import format_result, scoreboard_page

    refuse_broken_data()
    args.out = behind_link(named_output(args.out), f".answers.jsonl{PLAN}")
    if (page := args.out.with_suffix(".html")) == args.out:
        raise SettingsError(f"--out is {args.out}, but the result is JSON", hint="The page is written beside it.")
    check_writable(args.out)  # the journals are written beside it, which must not be /dev
    refuse_foreign_file(args.out, KIND.encode(), "validation result")
    refuse_foreign_file(page, PAGE, "page of a validation result")
    settings = evaluation.EvaluationSettings(
        args.max_tokens, args.temperature, args.seed, args.concurrency, args.timeout, args.max_retries,
        args.max_rejected,
    )  # fmt: skip
    pairs = {"minimal_pairs": load_pairs_result(args.minimal_pairs).summary()} if args.minimal_pairs else {}
    prompts = evaluation.select_prompts(args.limit)
    model = models.find_tested(
        args.checkpoint, args.model, args.base_url, args.extra_body, service_tier=args.service_tier,
        reasoning_effort=args.reasoning_effort,
    )  # fmt: skip
    baseline = models.find_baseline(args.baseline, model, prompts, settings, args.baseline_extra_body)
    judge = models.find_judge(args.judge_model, model, baseline, args.judge_extra_body)
    with locked(args.out):  # the journals of a link have other names, so their locks would not keep two runs apart
        result = await evaluation.validate(
            model, prompts, settings, args.out, baseline=baseline, judge=judge, overwrite=args.overwrite
        )
        result |= pairs
    atomic_write(args.out, dump_result(result))
    write_page(page, scoreboard_page(result))
    cli.print_stderr(f"result in {args.out}, page in {page}\n")
    print(printable(format_result(result)))
    calls = result["calls"]
    return 1 if calls["failed"] == calls["asked"] else 0


main = cli.main(parse_args, run, interrupted="Interrupted; run the same command again to resume.")

if __name__ == "__main__":
    raise SystemExit(main())
