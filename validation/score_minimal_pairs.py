"""Does a model know Doric grammar? Compare the probability of right and wrong sentences that differ in one thing.

    uv run --group finetune python validation/score_minimal_pairs.py --checkpoint FOLDER

FOLDER is a Transformers checkpoint, such as finetune_notebook/runs/first/export/merged, or a name on the Hugging Face
Hub. Two cores need about a minute for a 135M model. A server must give the log-probabilities of a prompt, as vLLM does,
and needs no further packages:

    uv run python validation/score_minimal_pairs.py --base-url http://localhost:8000/v1

A pair counts if the sum of the log-probabilities of its right sentence is higher, so 50% is chance. A model that knows
only English has its own pattern: it prefers "what" to "fit". Score the base model too, and compare with --baseline:

    uv run python validation/score_minimal_pairs.py --checkpoint TUNED --baseline datasets/minimal_pairs_base.json

--control scores a copy of the pairs that nobody can know. --lm-eval FOLDER writes the pairs as tasks for
lm-evaluation-harness and scores nothing. The pairs are in src/doric/data/minimal_pairs/pairs.tsv, and
docs/minimal_pairs.md explains them.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
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

DEFAULT_OUT = Path("datasets/minimal_pairs.json")
MODEL_HINT = "Give --checkpoint FOLDER, or the --base-url of a vLLM server."
COUNT, RETRIES = cli.bounded(int, 1, 10_000), cli.bounded(int, 0, 1000)
SECONDS = cli.bounded(float, 0, 1_000_000, above=True)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    models = parser.add_argument_group("model")
    models.add_argument("--checkpoint", metavar="FOLDER", help="a local checkpoint, or a name on the Hugging Face Hub")
    models.add_argument("--base-url", metavar="URL", help="URL of a server (else OPENAI_BASE_URL)")
    models.add_argument("--model", help="model name on the server (else MODEL, else its only model)")
    models.add_argument("--extra-body", metavar="JSON", help="fields added to every request (else EXTRA_BODY)")
    pairs = parser.add_argument_group("pairs")
    pairs.add_argument("--phenomenon", metavar="NAME", action="append", help="only this phenomenon (may be repeated)")
    pairs.add_argument("--control", choices=("labels", "words"), help="exchange right and wrong, or shuffle the words")
    pairs.add_argument("--seed", type=cli.whole_number, default=0, metavar="N", help="of the control (default: 0)")
    pairs.add_argument(
        "--start", metavar="TEXT", help="text before each sentence (default: BOS token; on a server: a line break)"
    )
    calls = parser.add_argument_group("calls")
    calls.add_argument("--batch-size", type=COUNT, default=16, metavar="N", help="sentences at a time (default: 16)")
    calls.add_argument("--concurrency", type=COUNT, default=8, metavar="N", help="concurrent calls (default: 8)")
    calls.add_argument("--timeout", type=SECONDS, default=300.0, metavar="S", help="seconds per call (default: 300)")
    calls.add_argument("--max-retries", type=RETRIES, default=3, metavar="N", help="retries per sentence (default: 3)")
    output = parser.add_argument_group("output")
    output.add_argument("--baseline", type=Path, metavar="FILE", help="the --out of another model, to compare with")
    output.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="FILE", help="result (default: %(default)s)")
    output.add_argument("--lm-eval", type=Path, metavar="FOLDER", help="write tasks for lm-evaluation-harness instead")
    args = parser.parse_args(argv)
    if args.checkpoint and (args.base_url or args.model):
        parser.error("--checkpoint is a model on this machine: leave out --base-url and --model")
    return args


async def run(args: argparse.Namespace) -> int:
    """Score the pairs, print the table and write the result; or write the tasks of --lm-eval."""
    from doric.core.errors import SettingsError
    from doric.core.files import atomic_write, encode_json, refuse_foreign_file
    from doric.core.regular_files import named_output
    from doric.core.settings import load_settings
    from doric.core.text import printable
    from doric.evaluation import pairs_run
    from doric.evaluation.lm_eval_tasks import HARNESS, write_tasks
    from doric.evaluation.minimal_pairs import KIND, load_pairs_result, with_baseline
    from doric.lint.files import refuse_broken_data
    from doric.llm.client import Client
    from doric.report.minimal_pairs_table import format_pairs

    refuse_broken_data()
    pairs = pairs_run.select_pairs(args.phenomenon, args.control, args.seed)
    if args.lm_eval:
        files = write_tasks(args.lm_eval, pairs)
        print(f"{len(files)} files in {args.lm_eval}. Run: {HARNESS} {args.lm_eval}")
        return 0
    args.out = named_output(args.out)
    refuse_foreign_file(args.out, KIND.encode(), "result of minimal pairs")
    before = load_pairs_result(args.baseline) if args.baseline else None
    about = {"control": args.control or ""}
    if args.checkpoint:
        result = pairs_run.score_with_checkpoint(
            args.checkpoint, pairs, batch_size=args.batch_size, start=args.start, about=about
        )
    else:
        settings = load_settings(model=args.model, base_url=args.base_url, extra_body=args.extra_body)
        if not settings.given:
            raise SettingsError("no model to score: no --checkpoint, no base URL and no key", hint=MODEL_HINT)
        async with Client(settings, timeout=args.timeout, concurrency=args.concurrency) as client:
            result = await pairs_run.score_with_server(
                client, pairs, address=settings.address, start=args.start, concurrency=args.concurrency,
                max_retries=args.max_retries, about=about,
            )  # fmt: skip
    if before:
        result = with_baseline(result, before, args.baseline)
    atomic_write(args.out, encode_json(result.as_json()))
    cli.print_stderr(f"result in {args.out}\n")
    print(printable(format_pairs(result.summary())))
    return 0


main = cli.main(parse_args, run, interrupted="Interrupted; nothing is written.")

if __name__ == "__main__":
    raise SystemExit(main())
