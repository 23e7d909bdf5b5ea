"""The `.env` file: which one is read, and that a doubtful line stops the command before a key is sent anywhere."""

import logging
import os
import threading
import traceback
from pathlib import Path

import pytest

from doric.core import env_file
from doric.core.env_file import VARIABLES, find_dotenv, load_variables, read_dotenv
from doric.core.errors import SettingsError
from doric.core.settings import load_settings

KEY = "sk-test-5f0c2b7e91d34a68"
SECRET = "corp-7731"
"""A part of each value that must not be in an error."""
TEMPLATE = Path(__file__).parents[1] / ".env.template"


@pytest.fixture
def dotenv(tmp_path):
    """A function that writes a `.env` and returns its path."""

    def write(content):
        path = tmp_path / ".env"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, environ=None):
    """The message of the error for a `.env`; it never contains a value."""
    with pytest.raises(SettingsError) as caught:
        load_variables(path, environ or {})
    said = caught.value.message + caught.value.hint
    shown = said + "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert SECRET not in shown
    assert caught.value.hint
    assert "\n" not in said
    return caught.value.message


DOUBTFUL = {
    "a colon": ("OPENAI_BASE_URL: https://corp-7731", "there is : instead of = after OPENAI_BASE_URL"),
    "a colon after a blank": (
        "OPENAI_BASE_URL : https://corp-7731",
        "there is : instead of = after OPENAI_BASE_URL",
    ),
    "a colon and an equals sign": ("OPENAI_BASE_URL:=https://corp-7731", "the name before = is not valid"),
    "an open quote": ('OPENAI_BASE_URL="https://corp-7731', "a quotation mark is not closed"),
    "an open single quote": ("OPENAI_BASE_URL='https://corp-7731", "a quotation mark is not closed"),
    "text after a quote": (
        "OPENAI_BASE_URL='https://corp-7731'/x",
        "there is text after the closing quotation mark",
    ),
    "a blank": ("OPENAI_BASE_URL https://corp-7731", "there is no = after OPENAI_BASE_URL"),
    "a name with blanks": ("OPENAI BASE URL=https://corp-7731", "there is no = after the name"),
    "a name alone": ("OPENAI_BASE_URL", "there is no = after OPENAI_BASE_URL"),
    "export alone": ("export", "there is no = after the name"),
    "a key alone": (KEY, "there is no = after the name"),
    "a URL alone": ("https://corp-7731", "there is no = after the name"),
    "a command": ("set OPENAI_BASE_URL=https://corp-7731", "this line cannot be read"),
    "PowerShell": ('$env:OPENAI_BASE_URL = "https://corp-7731"', "the name before = is not valid"),
    "a list item": ("- OPENAI_BASE_URL=https://corp-7731", "this line cannot be read"),
    "JSON": ('{"OPENAI_BASE_URL": "https://corp-7731"}', "this line cannot be read"),
    "a wide sign": ("OPENAI_BASE_URL＝https://corp-7731", "there is no = after the name"),
    "a zero-width blank": ("\u200bOPENAI_BASE_URL=https://corp-7731", "the name before = is not valid"),
    "a merge conflict": ("<<<<<<< HEAD", "it is left from a merge conflict"),
    "the middle of a conflict": ("=======", "it is left from a merge conflict"),
    "the end of a conflict": (">>>>>>> branch", "it is left from a merge conflict"),
    "small letters": ("openai_base_url=https://corp-7731", "openai_base_url is not a setting"),
    "hyphens": ("OPENAI-BASE-URL=https://corp-7731", "OPENAI-BASE-URL is not a setting"),
    "a reference": ("OPENAI_BASE_URL=${CORP_URL}", "OPENAI_BASE_URL uses ${CORP_URL}, which is not set"),
    "a reference within": ("OPENAI_BASE_URL=https://${CORP_HOST}/v1", "OPENAI_BASE_URL uses ${CORP_HOST}"),
    "an empty default": ("OPENAI_BASE_URL=${CORP_URL:-}", "OPENAI_BASE_URL is empty after its ${…} are replaced"),
    "curly quotes": ("OPENAI_BASE_URL=“https://corp-7731”", "OPENAI_BASE_URL contains its quotation"),
    "two kinds of quotes": (
        "OPENAI_BASE_URL='\"https://corp-7731\"'",
        "OPENAI_BASE_URL contains its quotation",
    ),
    "backticks": ("OPENAI_BASE_URL=`https://corp-7731`", "OPENAI_BASE_URL contains its quotation"),
    "a quote at the end": ('OPENAI_BASE_URL=https://corp-7731"', "OPENAI_BASE_URL contains its quotation"),
    "a second setting after a comma": (
        "OPENAI_API_KEY=corp-7731,OPENAI_BASE_URL=https://corp-7731",
        "OPENAI_API_KEY contains a second setting, OPENAI_BASE_URL",
    ),
    "a second setting after a blank": (
        "OPENAI_API_KEY=corp-7731 OPENAI_BASE_URL=https://corp-7731",
        "OPENAI_API_KEY contains a second setting, OPENAI_BASE_URL",
    ),
    "a second setting after an escape": (
        'OPENAI_BASE_URL="https://corp-7731\\nMODEL=x"',
        "OPENAI_BASE_URL contains a second setting, MODEL",
    ),
    "the name of an old library": ("OPENAI_API_BASE=https://corp-7731", "OPENAI_API_BASE is not a setting"),
    "the name of another program": ("OPENAI_API_BASE_URL=https://corp-7731", "OPENAI_API_BASE_URL is not a setting"),
    "a missing underscore": ("OPENAI_BASEURL=https://corp-7731", "OPENAI_BASEURL is not a setting"),
    "two letters swapped": ("OPENAI_BASE_ULR=https://corp-7731", "OPENAI_BASE_ULR is not a setting"),
    "a wrong letter": ("OPENAL_BASE_URL=https://corp-7731", "OPENAL_BASE_URL is not a setting"),
    **{
        name: (f"{name}=https://corp-7731", f"{name} is not a setting")
        for name in (
            "OPENAI_API_BASEURL",
            "OPENAI_BSE_ULR",
            "OPENAI_BASE_ADDRESS",
            "OPENAI_SERVER",
            "OPENAI_SERVER_URL",
            "OPENAI_BASE_URI",
            "OPENAI_ENDPOINT_URL",
            "OPNAI_BASE_UR",
            "OPENAI_BASES_URLS",
            "OPEN_AI_BASEURI",
            "VLLM_HOST",
        )
    },
    "another provider": ("MODEL_PROVDIER=openrouter", "MODEL_PROVDIER is not a setting"),
    "another provider with two slips": ("MODL_PROVDER=openrouter", "MODL_PROVDER is not a setting"),
    "another name beside an empty setting": (
        "OPENAI_API_BASE=https://corp-7731\nOPENAI_BASE_URL=",
        "OPENAI_API_BASE is not a setting",
    ),
    "a dot after the name": ("OPENAI_BASE_URL.=https://corp-7731", "OPENAI_BASE_URL. is not a setting"),
    "a password manager": ("OPENAI_API_KEY=op://corp-7731/key", "OPENAI_API_KEY is a reference to a secret"),
    "an encrypted value": ("OPENAI_API_KEY=encrypted:corp-7731", "OPENAI_API_KEY is a reference to a secret"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\nOTHER=1\n"], ids=["LF", "CRLF", "more"])
def test_a_doubtful_line_stops_the_command(case, end, dotenv):
    """The error has the file, the line and what is wrong, but no value; the blank lines before it count."""
    line, said = DOUBTFUL[case]
    path = dotenv(f"# mine\nOPENAI_API_KEY_2={KEY}\n\n{line}{end}")
    assert f".env:4: {said}" in refused(path)


def test_an_open_quote_does_not_swallow_the_next_setting(dotenv):
    """If the value would continue over a line with a setting, the line of the quotation mark is named."""
    path = dotenv(f'MODEL="gpt\nOPENAI_BASE_URL=https://corp-7731"\nOPENAI_API_KEY={KEY}\n')
    assert ":1: a quotation mark is not closed" in refused(path)
    path = dotenv(f'OPENAI_API_KEY="{KEY}\nOPENAI_BASE_URL="https://corp-7731"\n')
    assert ":1: a quotation mark is not closed" in refused(path)


def test_a_setting_with_two_values_is_refused(dotenv):
    """A second value, which may be empty, could send the key elsewhere; the same value twice is harmless."""
    for second in ("https://other/v1", ""):
        path = dotenv(f"OPENAI_BASE_URL=https://corp-7731\nOPENAI_BASE_URL={second}\n")
        assert ":2: OPENAI_BASE_URL is already set in line 1" in refused(path)
    assert read_dotenv(dotenv("MODEL=a\nMODEL=a\n")) == {"MODEL": "a"}


ACCEPTED = {
    "comments and blanks": ("# mine\n\n  MODEL = gpt-6-luna  # cheap\n", {"MODEL": "gpt-6-luna"}),
    "quotes": ("MODEL='gpt-6-luna'\nOPENAI_API_KEY=\"sk-a\"\n", {"MODEL": "gpt-6-luna", "OPENAI_API_KEY": "sk-a"}),
    "export": ("export MODEL=gpt-6-luna\nexport MODEL\n", {"MODEL": "gpt-6-luna"}),
    "Windows lines and a mark": ("\ufeffMODEL=gpt-6-luna\r\nVLLM_URL=\r\n", {"MODEL": "gpt-6-luna"}),
    "a reference": ("HOST=h\nOPENAI_BASE_URL=https://${HOST}/v1\n", {"HOST": "h", "OPENAI_BASE_URL": "https://h/v1"}),
    "a default": ("MODEL=${NO_SUCH_VARIABLE:-gpt-6-luna}\n", {"MODEL": "gpt-6-luna"}),
    "another program's lines": ('PEM="-----BEGIN\nab==\n-----END"\nAWS_PROFILE\nA.b-c=“x”\n',
                                {"PEM": "-----BEGIN\nab==\n-----END", "A.b-c": "“x”"}),
    "another program's value twice": ("DEBUG=1\nDEBUG=2\n", {"DEBUG": "2"}),
    "JSON": ('EXTRA_BODY={"a": [1]}\n', {"EXTRA_BODY": '{"a": [1]}'}),
    "nothing": ("", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_people_write_is_read(case, dotenv):
    """Comments, quotes, export, CRLF, references and the variables of other programs are accepted."""
    text, values = ACCEPTED[case]
    assert read_dotenv(dotenv(text)) == values


FILES = {
    "UTF-16": (f"OPENAI_API_KEY={KEY}\n".encode("utf-16"), ": it is UTF-16, not UTF-8 text"),
    "UTF-16 without a mark": (f"OPENAI_API_KEY={KEY}\n".encode("utf-16-le"), ": it is UTF-16, not UTF-8 text"),
    "Latin-1": (f"OPENAI_API_KEY={KEY}\n# caf\xe9\n".encode("latin-1"), ":2: not UTF-8 text"),
    "zero bytes": (f"OPENAI_API_KEY={KEY}\nMODEL=a\0b\n".encode(), ":2: it contains a zero byte"),
    "a compressed file": (b"\x1f\x8b\x08\0", ": it is gzip-compressed, not UTF-8 text"),
    "git-crypt": (b"\0GITCRYPT\0abc", ": it is encrypted with git-crypt, not UTF-8 text"),
    "too large": (b"A=1\n" * 300_000, ": it is larger than 1 MB"),
}


@pytest.mark.parametrize("case", FILES)
def test_another_kind_of_file_is_named(case, dotenv):
    """The error for another encoding, a compressed and a large file says what it is."""
    content, said = FILES[case]
    assert said in refused(dotenv(content))


def test_a_huge_file_is_not_read_into_memory(dotenv):
    """Of a file of 1 GB, only the first megabyte is read."""
    path = dotenv("")
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    assert "larger than 1 MB" in refused(path)


def test_a_pipe_is_read_once(tmp_path, caplog):
    """Password managers provide `.env` as a pipe; several servers can be configured from one read."""
    path = tmp_path / ".env"
    os.mkfifo(path)
    caplog.set_level(logging.INFO)
    writer = threading.Thread(target=path.write_text, args=(f"OPENAI_API_KEY={KEY}\n",), daemon=True)
    writer.start()
    assert [load_settings(environ={}, dotenv=path).key for _ in range(3)] == [KEY] * 3
    writer.join(5)
    assert "which is a pipe" in caplog.text
    assert KEY not in caplog.text


def test_a_directory_is_named(tmp_path):
    """Docker makes a directory in the place of a missing file; a Python environment of this name is no `.env`."""
    (tmp_path / ".env").mkdir()
    assert "it is a directory, not a file" in refused(tmp_path / ".env")
    (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert read_dotenv(tmp_path / ".env") == {}


def test_a_link_to_nothing_is_named(tmp_path):
    """A link whose file is missing may be a locked vault, so it is not taken for a missing `.env`."""
    assert read_dotenv(tmp_path / ".env") == {}
    (tmp_path / ".env").symlink_to(tmp_path / "vault" / "env")
    assert "it is a link to a file that does not exist" in refused(tmp_path / ".env")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refused(tmp_path / "loop")


def test_a_file_without_permission_is_named(dotenv, monkeypatch):
    """The error says that the file may not be read."""
    path = dotenv("MODEL=a\n")

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "cannot be read: permission denied" in refused(path)


QUOTED = ['"{}"', "'{}'", "“{}”", "‘{}’", "«{}»", "`{}`", ' "{}" ', '"{}"\r', '{}"', "„{}“"]


@pytest.mark.parametrize("form", QUOTED)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "VLLM_API_KEY", "DORIC_MODEL"])
def test_quotes_in_the_environment_are_named(name, form, tmp_path):
    """docker --env-file keeps quotation marks: the error names the variable, not its value."""
    said = refused(tmp_path / ".env", {name: form.format(KEY)})
    assert said == f"{name} in the environment contains its quotation marks"


def test_a_variable_of_another_program_may_have_quotes(tmp_path):
    """Only the variables that the commands read are checked."""
    environ = {"PS1": '"$ "', "LESS": "'x'"}
    assert load_variables(tmp_path / ".env", environ) == environ


def test_dotenv_is_searched_up_to_the_top_of_the_repository(tmp_path):
    """The nearest `.env` up to the folder with .git or pyproject.toml is found, and none above it."""
    top, inner = tmp_path / "repo", tmp_path / "repo" / "a" / "modal"
    inner.mkdir(parents=True)
    (top / "pyproject.toml").touch()
    (tmp_path / ".env").write_text("MODEL=outside\n")
    assert find_dotenv(inner) == inner / ".env"
    (top / ".env").write_text("MODEL=top\n")
    assert find_dotenv(inner) == top / ".env"
    (inner / ".env").write_text("MODEL=inner\n")
    assert find_dotenv(inner) == inner / ".env"
    (inner / ".env").unlink()
    (inner.parent / ".git").write_text("gitdir: elsewhere\n")  # a repository within the repository
    assert find_dotenv(inner) == inner / ".env"


def test_outside_a_repository_only_the_folder_is_searched(tmp_path, monkeypatch):
    """If no folder above is a repository, the parents are not searched."""
    monkeypatch.setattr(env_file, "ROOT_MARKS", ("no such file anywhere",))
    (tmp_path / "a").mkdir()
    (tmp_path / ".env").write_text("MODEL=outside\n")
    assert find_dotenv(tmp_path / "a") == tmp_path / "a" / ".env"
    assert find_dotenv(tmp_path) == tmp_path / ".env"


def test_a_python_environment_does_not_hide_the_file_above(tmp_path):
    """A folder `.env` with a Python environment is passed over in the search."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".env").write_text("MODEL=top\n")
    (tmp_path / "a" / ".env").mkdir(parents=True)
    (tmp_path / "a" / ".env" / "pyvenv.cfg").touch()
    assert find_dotenv(tmp_path / "a") == tmp_path / ".env"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MODLE", "MODEL"),
        ("MDEL", "MODEL"),
        ("VLLM_ULR", "VLLM_URL"),
        ("VLLM_MODLE", "VLLM_MODEL"),
        ("OPENIA_API_KEY", "OPENAI_API_KEY"),
        ("OPENAI_API_KEYS", "OPENAI_API_KEY"),
        ("EXTRABDOY", "EXTRA_BODY"),
        ("MODEL_KEY", "MODAL_KEY"),
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("OPENAI_API_TOKEN", "OPENAI_API_KEY"),
        ("OPENAI_SECRET_KEY", "OPENAI_API_KEY"),
        ("OPNAI_API_KYE", "OPENAI_API_KEY"),
        ("OPENROUTER_API_TOKEN", "OPENROUTER_API_KEY"),
        ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
        ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN"),
        ("BASELINE_KEY", "BASELINE_API_KEY"),
        ("JUDGE_TOKEN", "JUDGE_API_KEY"),
        ("MODEL_NAME", "MODEL"),
        ("OPENAI_MODEL", "MODEL"),
        ("LLM_PROVIDER", "MODEL_PROVIDER"),
        ("MODEL_BASE_URL", "OPENAI_BASE_URL"),
        ("MODEL_URL", "OPENAI_BASE_URL"),
        ("BASE_URL", "OPENAI_BASE_URL"),
        ("LLM_BASE_URL", "OPENAI_BASE_URL"),
        ("AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL"),
        ("OPENAI_PROXY_URL", "OPENAI_BASE_URL"),
        ("OPENROUTER_BASE_URL", "OPENAI_BASE_URL"),
    ],
)
def test_a_misspelt_name_is_mentioned_once(dotenv, caplog, name, meant):
    """A name that differs from a setting in one slip is a warning with file, line and setting, without the value."""
    path = dotenv(f"\n{name}={SECRET}\n{meant}=\n")
    for _ in range(3):
        assert read_dotenv(path)[name] == SECRET
    assert [record.getMessage().partition(".env")[2] for record in caplog.records if record.levelname == "WARNING"] == [
        f":2: {name} is not a setting of these commands. Is {meant} meant?"
    ]


def test_a_slip_that_changes_nothing_is_mentioned(dotenv, caplog):
    """A misspelt provider that is the default one is a warning."""
    read_dotenv(dotenv("MODEL_PROVDIER=openai\n"))
    assert "Is MODEL_PROVIDER meant?" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "OPENAI_API_KEY_2=x", "OPENAI_BASE_URL2=x", "MODE=x", "MODAL_TOKEN_ID=x", "AZURE_OPENAI_API_KEY=x",
        "LOG_LEVEL=x", "API_URL=x", "DATABASE_URL=x", "APP_KEY=x", "MODEL_PATH=x",
        "OPENAI_ORG_ID=x", "MODLE=", "MODLE=x\nMODEL=y", "model=x", "HF_HOME=x",
    ],
)  # fmt: skip
def test_names_of_other_programs_are_not_mentioned(dotenv, caplog, line):
    """A name that another program may read, and a slip beside the right name, are no warning."""
    read_dotenv(dotenv(f"{line}\n"))
    assert "not a setting" not in caplog.text


def test_it_is_said_which_file_is_used(dotenv, caplog):
    """The file is named once, unless it holds no setting."""
    caplog.set_level(logging.INFO)
    path = dotenv("OTHER=1\n")
    read_dotenv(path)
    assert caplog.text == ""
    dotenv(f"OPENAI_API_KEY={KEY}\n")
    read_dotenv(path)
    read_dotenv(path)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("Settings are read from ")
    assert KEY not in caplog.text


def test_every_variable_of_the_template_is_known():
    """The strict rules hold for each variable that .env.template names."""
    lines = [line.removeprefix("# ") for line in TEMPLATE.read_text().splitlines()]
    names = {line.partition("=")[0] for line in lines if "=" in line and line.partition("=")[0].isupper()}
    assert {name for name in names if " " not in name} <= VARIABLES
