"""A second model, such as a judge or a baseline: which server has it, and which key goes there."""

import logging
from dataclasses import replace
from urllib.parse import urlsplit

from doric.core.extra_body import parse_extra_body
from doric.core.settings import Settings, load_settings, same_origin

log = logging.getLogger("doric")


def find_model(spec: str, model: Settings, key_variable: str, extra_body: str | None = None) -> Settings:
    """The settings of MODEL, URL or MODEL@URL. MODEL alone is on the server of `model`. Raises `SettingsError`.

    The user's key is sent only to the server of `model` and to the server that the environment sets for the key. Any
    other server gets the key in `key_variable`, if it is set. Without `extra_body`, the extra fields of a known server
    are used on that server.
    """
    spec = spec.strip()
    given = (
        None
        if extra_body is None
        else parse_extra_body(extra_body, f"--{key_variable.split('_')[0].lower()}-extra-body")
    )
    name, at, url = spec.rpartition("@") if "@http" in spec else ("", "", spec)
    if not at and not spec.startswith(("http://", "https://")):
        return replace(model, model=spec, extra_body=model.extra_body if given is None else given)
    found = replace(load_settings(model=name, base_url=url, key_variable=key_variable), extra_body=given or {})
    for known in (model, load_settings()):
        if same_origin(found.address, known.address):
            fields = known.extra_body if given is None else given
            if found.key:
                return replace(found, extra_body=fields, preferred=known.preferred)
            return replace(known, base_url=found.base_url, model=found.model, extra_body=fields)
    if model.key and not found.key:
        host = urlsplit(found.address).netloc
        log.info("%s is not sent to %s; if that server needs a key, set %s.", model.key_variable, host, key_variable)
    return found
