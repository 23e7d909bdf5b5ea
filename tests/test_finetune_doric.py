"""The Modal app that fine-tunes: its options, the cost that it prints, and what a deployment sends to Modal."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from modal_proto import api_pb2

import finetune_doric
from doric.core import gpu_prices
from modal_recorder import deploy, recording

ROOT = Path(__file__).parents[1]
CONTAINER_HOME = "/root"
"""The home of the container on Modal, as its mounts have it; no folder of the machine that runs the tests."""
APP = ROOT / "modal" / "finetune_doric.py"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A dataset of ten chats."""
    file = tmp_path / "rows.jsonl"
    chats = [{"conversations": [turn("human", f"Fit is {at}?"), turn("gpt", f"It's {at}.")]} for at in range(10)]
    file.write_text("".join(f"{json.dumps(chat)}\n" for chat in chats))
    return file


def turn(who: str, text: str) -> dict[str, str]:
    """A turn of a ShareGPT chat."""
    return {"from": who, "value": text}


def run(*options: object, **env: str) -> subprocess.CompletedProcess[str]:
    """`modal run` with these options and without an account: it fails when it would connect."""
    command = [sys.executable, "-m", "modal", "run", "--detach", "modal/finetune_doric.py", *map(str, options)]
    offline = {"MODAL_CONFIG_PATH": "/no-such.toml", "MODAL_SERVER_URL": "http://127.0.0.1:9"}
    given = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COLUMNS": "200", **offline, **env}
    return subprocess.run(
        command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def options(*given: str):
    return finetune_doric.parse_args(given)


# -- options -----------------------------------------------------------------------------------------------------------


def test_25_hours_are_refused_before_anything_starts(rows):
    """A timeout above Modal's limit is one line and exit status 2: Modal itself accepts it and stops after 24 h."""
    done = run("--data", rows, "--timeout", "25h", "--yes")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "error: argument --timeout: 25h is more than 24 h, after which Modal stops every function"
    )
    assert done.stdout == ""


def test_without_confirmation_nothing_starts(rows):
    """Without --yes and without a terminal, the cost is printed and nothing is built."""
    done = run("--data", rows)
    assert done.returncode == 2
    assert "The run doric with 10 chats on L40S or A100-80GB costs at most $" in done.stderr
    assert "add --yes" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--timeout", "24.5"], "more than 24 h"),
        (["--timeout", "0"], "above 0"),
        (["--timeout", "nan"], "above 0"),
        (["--attempts", "0"], "from 1 to 11"),
        (["--attempts", "12"], "from 1 to 11"),
        (["--gpu", "H100:9"], "from 1 to 8"),
        (["--gpu", "L40S,,L4"], "'' is not a GPU type of Modal"),
        (["--gpu", "B300", "--rate", "9"], "'B300' is not a GPU type of Modal"),
        (["--gpu", "H200"], "--rate"),
        (["--memory", "0"], "above 0"),
        (["--set", "MAX_STEPS"], "not NAME=VALUE"),
    ],
)
def test_wrong_options(given, message, capsys):
    """A wrong option is an error of one line with what is allowed, and exit status 2."""
    with pytest.raises(SystemExit) as stopped:
        options(*given)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[0]


def test_wrong_settings_are_refused_at_home(rows, capsys):
    """A setting that the job would refuse is refused before a machine is paid for."""
    with pytest.raises(SystemExit) as stopped:
        finetune_doric.check(options("--data", str(rows), "--set", "MAXSTEPS=3", "--yes"))
    assert stopped.value.code == 2
    assert "MAX_STEPS" in capsys.readouterr().err


def test_a_missing_dataset_is_refused_at_home(capsys):
    """The dataset must be a file."""
    for given in (["--data", "/no/such.jsonl"], []):
        with pytest.raises(SystemExit) as stopped:
            finetune_doric.check(options(*given, "--yes"))
        assert stopped.value.code == 2
        assert "--data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "rows.jsonl"),
        ("# a page\n", "rows.jsonl:1: not JSON"),
        ('{"conversations": []}\n', "rows.jsonl:1: "),
        ('{"conversations": [{"from": "human", "value": "Fit?"}, {"from": "gpt", "value": "Aye."}]}\n', "1 topic"),
    ],
)
def test_a_dataset_that_the_job_would_refuse_is_refused_at_home(rows, content, message, capsys):
    """A file that cannot be trained on is an error with its line before the cost is printed and a machine is paid."""
    rows.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        finetune_doric.check(options("--data", str(rows), "--yes"))
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in told.splitlines()[0]
    assert "$" not in told


def test_settings_are_read_as_json_or_text():
    """Numbers, true and false have their types; everything else is text."""
    texts = ["MAX_STEPS=3", "LEARNING_RATE=2e-4", "RESUME=false", "RESUME=True", "RUN_NAME=my run", "BASE_MODEL=a=b"]
    assert [finetune_doric.setting(text)[1] for text in texts] == [3, 2e-4, False, True, "my run", "a=b"]


@pytest.mark.parametrize(
    ("argv", "own"),
    [
        (["modal", "run", "--detach", "modal/finetune_doric.py", "--data", "x"], ["--data", "x"]),
        (["modal", "run", "finetune_doric.py::main", "--yes"], ["--yes"]),
        (["modal", "run", "finetune_doric.py"], []),
        (["modal", "deploy", "finetune_doric.py"], None),
        (["pytest", "tests/test_x.py"], None),
    ],
)
def test_own_arguments_follow_the_name_of_the_file(argv, own):
    """Modal's own options come before the name of the file, and those of the app after it."""
    assert finetune_doric.own_arguments(argv) == own


# -- costs -------------------------------------------------------------------------------------------------------------


def test_the_bound_counts_the_dearest_gpu_the_rest_and_all_attempts():
    """Price of the dearest type with its count, all cores and memory, times hours, times attempts."""
    chosen = options("--gpu", "L4,A100-80GB:2", "--timeout", "2", "--attempts", "3", "--memory", "100")
    per_hour = 2 * 2.50 + 8 * 0.047 + 100 * 0.008
    assert finetune_doric.cost_per_hour(chosen) == pytest.approx(per_hour)
    said = finetune_doric.cost_bound(chosen)
    assert f"at most ${6 * per_hour:.2f}" in said
    assert gpu_prices.DATE in said
    assert "modal billing rates" in said


def test_a_rate_replaces_the_table():
    """With --rate, a GPU that is not in the table can be used, and the bound says where the price is from."""
    chosen = options("--gpu", "H200", "--rate", "9", "--attempts", "1", "--timeout", "1h")
    assert finetune_doric.cost_per_hour(chosen) > 9
    assert "your --rate" in finetune_doric.cost_bound(chosen)


def test_the_default_run_can_be_priced():
    """All default GPU types are in the table."""
    assert finetune_doric.cost_per_hour(options()) > 0


# -- deployed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """The requests of a deployment, from a folder with secrets and data beside the app."""
    home = tmp_path_factory.mktemp("home")
    with recording({}) as recorder:
        done = deploy(APP, recorder, {"PATH": os.environ["PATH"], "HOME": str(home)})
    assert done.returncode == 0, done.stdout
    assert "eprecat" not in done.stdout
    return recorder


def test_the_function_can_be_interrupted(deployed):
    """Each attempt has a new container, a limit of time, retries, and a list of GPU types."""
    function = deployed.function
    assert function.single_use_containers
    assert function.timeout_secs == 6 * 3600
    assert function.retry_policy.retries == 3
    (created,) = deployed.sent(api_pb2.FunctionCreateRequest)
    ranked = created.function_data.ranked_functions
    assert [each.function.resources.gpu_config.gpu_type for each in ranked] == ["L40S", "A100-80GB"]


def test_the_volumes_outlive_the_container(deployed):
    """Runs, data, models and the cache are Volumes; the models are those that vllm_doric.py serves."""
    mounts = {mount.mount_path: mount.volume_id for mount in deployed.function.volume_mounts}
    assert mounts == {
        "/runs": "vo-doric-runs",
        "/data": "vo-doric-data",
        "/models": "vo-doric-models",
        f"{CONTAINER_HOME}/.cache/huggingface": "vo-doric-hf-cache",
    }


def test_only_the_library_is_sent(deployed):
    """The app and the library with its language data are sent, and no settings, keys, datasets or caches."""
    mounts = deployed.sent(api_pb2.MountGetOrCreateRequest)
    files = {file.filename for mount in mounts for file in mount.files}
    app, library = f"{CONTAINER_HOME}/finetune_doric.py", f"{CONTAINER_HOME}/doric/"
    assert {app, f"{library}finetune/job.py", f"{library}data/lexicon.tsv"} <= files
    others = {name for name in files if not name.startswith((library, app))}
    assert not others
    assert not [name for name in files if re.search(r"/\.|__pycache__|\.bak|\.jsonl\.|sharegpt", name)]
    builds = deployed.sent(api_pb2.ImageGetOrCreateRequest)
    context = {file.filename for build in builds for file in build.image.context_files}
    assert context == {"/.pyproject.toml", "/.uv.lock"}


def test_the_image_has_the_locked_packages(deployed):
    """The image is made from uv.lock, without the groups for development, and its versions are pinned."""
    builds = deployed.sent(api_pb2.ImageGetOrCreateRequest)
    commands = "\n".join(line for build in builds for line in build.image.dockerfile_commands)
    assert re.search(r"uv sync .*--group=finetune .*--no-default-groups.*--frozen", commands)
    assert "uv:latest" not in commands
    assert deployed.image_env["PYTHONPATH"] == CONTAINER_HOME  # the export worker is another process


# -- results -----------------------------------------------------------------------------------------------------------


def test_the_command_that_serves_the_model_is_printed(capsys):
    """After a job, its loss and one command to deploy the model are printed."""
    loss = {"before": 5.0, "after": 3.5}
    finetune_doric.report({"held_out_loss": loss, "steps": 9, "model": "/models/a", "deploy": "DEPLOY", "failed": []})
    out = capsys.readouterr().out
    assert "5.000 -> 3.500 after 9 steps" in out
    assert "\nDEPLOY\n" in out


def test_a_format_that_failed_is_named(capsys):
    """The exit status is 1 if one of the formats was not saved."""
    loss = {"before": 5.0, "after": 3.5}
    with pytest.raises(SystemExit) as stopped:
        finetune_doric.report(
            {"held_out_loss": loss, "steps": 9, "model": "/models/a", "deploy": "D", "failed": ["q8_0"]}
        )
    assert stopped.value.code == 1
    assert "q8_0" in capsys.readouterr().err


def test_an_error_of_the_job_is_printed(capsys):
    """An error of the container that the user can fix is printed as an error at home, with exit status 2."""
    with pytest.raises(SystemExit) as stopped:
        finetune_doric.report({"error": "The loss is nan.", "hint": "Lower it."})
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: The loss is nan.\nhint: Lower it.\n"
