# # A teacher model on 1 to N GPU containers of Modal, behind one address
#
# `teacher_doric.py` deploys this app, runs the dataset generator with it, and stops it. Do not deploy it by hand:
# nothing would stop it but the limits below.
#
# Settings, image, storage, API key check and vLLM's arguments are those of `vllm_doric.py`, which is sent along with
# this file. `README.md` in this folder says what limits the costs.

import hashlib
import hmac
import os
import subprocess
import sys
import threading
import time

import modal

from vllm_doric import MINUTES, PORT, START_LIMIT, config, image, secret, start_vllm, volumes

# ## Limits
#
# The time after which no container may run is written into the image. Containers end themselves at that time, and one
# that is started later ends before it loads the model. It is an absolute time, so that a restart cannot extend it.

NAMES = ("TEACHER_DEADLINE", "TEACHER_CALLS", "TEACHER_CORES", "TEACHER_GIB", "TEACHER_KEY_HASH")
LIMITS = {name: os.environ.get(name, "").strip() for name in NAMES}

if not all(LIMITS.values()):
    print("error: this app has no limits\nhint: start it with teacher_doric.py, which also stops it", file=sys.stderr)
    raise SystemExit(2)

DEADLINE = float(LIMITS["TEACHER_DEADLINE"])  # in seconds since 1970
CALLS = int(LIMITS["TEACHER_CALLS"])  # of one container, from which Modal starts another one
CORES = float(LIMITS["TEACHER_CORES"])
MEMORY = int(float(LIMITS["TEACHER_GIB"]) * 1024)  # in MiB

MOST_HOURS = 24  # of --max-hours
FAILED = "the teacher's container did not start:"  # teacher_doric.py looks for it in the log
WRONG_KEY = "the Secret doric-vllm has another VLLM_API_KEY"  # and for this after it

app = modal.App("doric-teacher")


# ## The server
#
# `min_containers` is 0: without requests, all containers stop after `scaledown_window`, also when the machine that
# started them is gone. Without a container, Modal answers 503 at once and starts one. Modal's proxy token is not
# required, because the generator sends one key only: RequireKey checks it on every path but the two health checks.


@app.server(
    image=image.env(LIMITS).add_local_python_source("vllm_doric"),
    gpu=[":".join(filter(None, gpu)) for gpu in config.gpus()],
    cpu=(min(2.0, CORES), CORES),
    memory=(min(16 * 1024, MEMORY), MEMORY),
    volumes=volumes,
    secrets=[secret],
    min_containers=0,
    max_containers=config.MAX_CONTAINERS,
    target_concurrency=CALLS,
    scaledown_window=config.SCALEDOWN_MINUTES * MINUTES,
    startup_timeout=START_LIMIT,
    exit_grace_period=30,
    port=PORT,
    unauthenticated=True,
)
class Teacher:
    """One container with vLLM."""

    process: "subprocess.Popen[bytes] | None" = None

    @modal.enter()
    def start(self) -> None:
        """Start vLLM, and return when it is ready. An error is raised, and in the log too."""
        try:
            left = DEADLINE - time.time()
            if left <= 0:
                raise RuntimeError("the time of --max-hours is over; nothing is started")
            if left > (MOST_HOURS + 1) * 60 * MINUTES:
                raise RuntimeError("the clock of the machine that deployed is wrong, so --max-hours would not hold")
            check_key(os.environ.get("VLLM_API_KEY", ""), LIMITS["TEACHER_KEY_HASH"])
            threading.Thread(target=end_in_time, daemon=True).start()
            self.process = start_vllm(config, config.DORIC_MODEL)
        except Exception as error:
            print(FAILED, " ".join(str(error).split()), flush=True)
            raise

    @modal.exit()
    def stop(self) -> None:
        """Let vLLM end."""
        if self.process is not None:
            self.process.terminate()


def check_key(key: str, hashed: str) -> None:
    """Raise RuntimeError if the Secret's key is not that of the machine that deployed: it could not use the model.

    That machine has sent a salted hash of its key. An empty key is reported by `start_vllm`.
    """
    rounds, salt, digest = hashed.split(":")
    found = hashlib.pbkdf2_hmac("sha256", key.encode(), bytes.fromhex(salt), int(rounds))
    if key and not hmac.compare_digest(found, bytes.fromhex(digest)):
        raise RuntimeError(f"{WRONG_KEY} than the machine that deployed")


def end_in_time() -> None:
    """End the container at the deadline. The time of day is used, because other clocks stop in a suspended machine."""
    while (left := DEADLINE - time.time()) > 0:
        time.sleep(min(left, 10.0))
    print("the time of --max-hours is over; the container stops", flush=True)
    os._exit(1)
