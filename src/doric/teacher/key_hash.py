"""A salted hash of the API key, with which a container compares the key of its Secret before it loads the model."""

import hashlib
import secrets

ROUNDS = 600_000
"""Of PBKDF2 with SHA-256: a third of a second, so that a short key cannot be found by trying."""
SET_SECRET = "cd modal && uv run modal secret create --force doric-vllm --from-dotenv ../.env.modal"


def key_hash(key: str) -> str:
    """The hash as modal/teacher_app.py reads it, ROUNDS:SALT:HASH in hexadecimal, with a new salt each time."""
    salt = secrets.token_bytes(16)
    return f"{ROUNDS}:{salt.hex()}:{hashlib.pbkdf2_hmac('sha256', key.encode(), salt, ROUNDS).hex()}"


def differing_keys_hint() -> str:
    """What to do if the key here is not that of the Secret."""
    return (
        "Put the line VLLM_API_KEY=… of .env (and HF_TOKEN=…, if you use it) into .env.modal, run "
        f"`{SET_SECRET}`, and give this command again. A VLLM_API_KEY in the environment overrides .env."
    )
