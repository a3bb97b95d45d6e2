"""Where the key and the base URL come from; the key is never shown."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import stat
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError
from traitlets.config import Config

from runapi_magic.core.access import Access, Secret, is_key, is_loopback_host, normalize_base_url
from runapi_magic.core.paths import data_home
from runapi_magic.engine.credentials import cli_config_path, resolve_access, save_key
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import ConfigurationError, MissingKeyError
from tests.properties import PROPERTY

KEY = "sk-test-0123456789abcdef"


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def colab(monkeypatch):
    """Return a function that fakes a Colab kernel with the given secrets."""
    secrets = {}
    userdata = types.ModuleType("google.colab.userdata")

    def get(name):
        if name not in secrets:
            raise type("SecretNotFoundError", (Exception,), {})
        return secrets[name]

    userdata.get = get
    package = types.ModuleType("google.colab")
    package.userdata = userdata
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab.userdata", userdata)
    return secrets


def test_nothing_is_found_in_an_empty_home():
    """Without any source there is no key, and the base URL is RunAPI's."""
    access = resolve_access(Settings())
    assert access == Access("https://runapi.ai", Secret(""), "", "default")


def test_a_missing_key():
    """The error of a missing key names the variable, the login command and the simulator."""
    with pytest.raises(MissingKeyError) as caught:
        resolve_access(Settings()).require_key()
    assert str(caught.value).splitlines()[:2] == [
        "There is no RunAPI key.",
        "Nothing was sent, nothing was charged.",
    ]
    for way in ("RUNAPI_API_KEY", "%runapi login", "%runapi simulator on"):
        assert way in caught.value.todo
    assert "%env" not in str(caught.value)


def test_the_order_of_sources(home, colab, monkeypatch):
    """The setting, the environment, Colab, the CLI's file and Hermes are used in this order."""
    found = []
    settings = Settings(api_key="sk-setting")
    monkeypatch.setenv("RUNAPI_API_KEY", "sk-environment")
    colab["RUNAPI_API_KEY"] = "sk-colab"
    cli = _write(home / ".config/runapi/config.json", {"api_key": "sk-cli"})
    hermes = _write(home / ".hermes/.env", "RUNAPI_API_KEY=sk-hermes\n")

    def look():
        access = resolve_access(settings)
        found.append((access.key.reveal(), access.key_source))

    for remove in (
        lambda: setattr(settings, "api_key", ""),
        lambda: monkeypatch.delenv("RUNAPI_API_KEY"),
        colab.clear,
        cli.unlink,
        hermes.unlink,
    ):
        look()
        remove()
    look()
    assert found == [
        ("sk-setting", "%config RunAPIMagics.api_key"),
        ("sk-environment", "RUNAPI_API_KEY"),
        ("sk-colab", "Colab secret RUNAPI_API_KEY"),
        ("sk-cli", "~/.config/runapi/config.json (RunAPI CLI)"),
        ("sk-hermes", "~/.hermes/.env (Hermes Agent)"),
        ("", ""),
    ]


def test_a_blank_key(home, monkeypatch):
    """A blank key is skipped, and spaces around a key are removed."""
    monkeypatch.setenv("RUNAPI_API_KEY", "  \n")
    _write(home / ".config/runapi/config.json", {"api_key": f" {KEY}\n"})
    assert resolve_access(Settings()).key.reveal() == KEY


def test_an_earlier_source_hides_a_broken_file(home, monkeypatch):
    """With a key in the environment, a damaged configuration file is not read."""
    _write(home / ".config/runapi/config.json", "{broken")
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    assert resolve_access(Settings()).key.reveal() == KEY


@pytest.mark.parametrize(
    ("environ", "file"),
    [
        ({"RUNAPI_CONFIG_DIR": "own"}, "own/config.json"),
        ({"XDG_CONFIG_HOME": "xdg"}, "xdg/runapi/config.json"),
        ({}, "home/.config/runapi/config.json"),
    ],
)
@pytest.mark.parametrize("names", [("api_key", "base_url"), ("apiKey", "baseUrl")])
def test_paths_of_the_cli_file(tmp_path, monkeypatch, environ, file, names):
    """The CLI's file is found at all its paths, with both spellings of its fields."""
    for name, value in environ.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    _write(tmp_path / file, dict(zip(names, (KEY, "https://api.example.com/v1"), strict=True)))
    access = resolve_access(Settings())
    assert access.key.reveal() == KEY
    assert access.base_url == "https://api.example.com"
    assert access.base_url_source == access.key_source
    assert "config.json (RunAPI CLI)" in access.key_source


def test_the_cli_folder_wins_over_xdg(monkeypatch, tmp_path):
    """``RUNAPI_CONFIG_DIR`` is used before ``XDG_CONFIG_HOME``, and may contain ``~``."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("RUNAPI_CONFIG_DIR", "~/mine")
    assert cli_config_path() == tmp_path / "home/mine/config.json"


@pytest.mark.parametrize("content", ["", "{", "[1", "\x00", '{"api_key": "sk-secret-key-123'])
def test_a_corrupt_cli_file(home, content):
    """The error of a damaged file names it and what to do, but not its content."""
    path = _write(home / ".config/runapi/config.json", content)
    with pytest.raises(ConfigurationError) as caught:
        resolve_access(Settings())
    assert str(path) in caught.value.what
    assert "Repair or delete" in caught.value.todo
    assert "sk-secret" not in str(caught.value)


def test_a_cli_file_that_is_not_utf8(home):
    """A file in another encoding is a configuration error."""
    path = _write(home / ".config/runapi/config.json", "")
    path.write_bytes(b'{"api_key": "\xff\xfe"}')
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve_access(Settings())


@pytest.mark.parametrize("content", [[], "text", 3, None, {}, {"other": 1}, {"api_key": None}])
def test_a_cli_file_without_a_key(home, content):
    """A JSON file without a key is skipped."""
    _write(home / ".config/runapi/config.json", json.dumps(content))
    assert not resolve_access(Settings()).key


def _colab_raises(monkeypatch, name):
    def get(_):
        raise type(name, (Exception,), {})("sk-not-to-be-shown")

    monkeypatch.setattr(sys.modules["google.colab.userdata"], "get", get)


def test_colab_without_the_secret(colab, monkeypatch):
    """If Colab has no such secret, the error says where to add it."""
    _colab_raises(monkeypatch, "SecretNotFoundError")
    access = resolve_access(Settings())
    with pytest.raises(MissingKeyError) as caught:
        access.require_key()
    assert "Open Secrets" in caught.value.todo


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotebookAccessError", "does not let this notebook read"),
        ("TimeoutException", "did not return the secret RUNAPI_API_KEY in time"),
        ("OtherError", "did not return the secret RUNAPI_API_KEY (OtherError)"),
    ],
)
def test_an_error_of_colab(colab, monkeypatch, name, words):
    """If Colab refuses the secret, the error says so."""
    _colab_raises(monkeypatch, name)
    with pytest.raises(ConfigurationError) as caught:
        resolve_access(Settings())
    assert words in caught.value.what
    assert "sk-not" not in str(caught.value)


def test_another_key_if_colab_refuses(home, colab, monkeypatch):
    """If Colab refuses the secret, the key in the CLI's file is used."""
    _colab_raises(monkeypatch, "TimeoutException")
    _write(home / ".config/runapi/config.json", {"api_key": "sk-file"})
    assert resolve_access(Settings()).key.reveal() == "sk-file"


def test_a_folder_without_permission(home, monkeypatch):
    """A configuration folder without permission is skipped."""
    monkeypatch.setattr("pathlib.Path.read_text", _forbidden)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert not resolve_access(Settings()).key


def _forbidden(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_without_a_home_folder(monkeypatch):
    """An unknown user without HOME has the defaults."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert not resolve_access(Settings()).key


@pytest.mark.parametrize(
    ("env", "config", "expected"),
    [
        ("RUNAPI_API_KEY=k1", "", ("k1", "https://runapi.ai")),
        ("export RUNAPI_API_KEY='k1'", "", ("k1", "https://runapi.ai")),
        (
            "RUNAPI_API_KEY=k1\nMY_KEY=k2",
            "custom_providers: [{name: runapi, base_url: https://eu.ai/v1, key_env: MY_KEY}]",
            ("k2", "https://eu.ai"),
        ),
        (
            "RUNAPI_API_KEY=k1",
            "custom_providers: [{name: other, base_url: https://o.ai, key_env: X}, {name: runapi}]",
            ("k1", "https://runapi.ai"),
        ),
        (
            "RUNAPI_API_KEY=k1\nRUNAPI_BASE_URL=https://env.runapi.ai",
            "custom_providers:\n- name: runapi\n  base_url: https://yaml.runapi.ai\n",
            ("k1", "https://env.runapi.ai"),
        ),
        ("RUNAPI_API_KEY=a${HOME}b", "", ("a${HOME}b", "https://runapi.ai")),
        ("RUNAPI_API_KEY=k1", "custom_providers: [", ("k1", "https://runapi.ai")),
        ("RUNAPI_API_KEY=k1", "custom_providers: 3", ("k1", "https://runapi.ai")),
        ("RUNAPI_API_KEY=k1", "- a\n- b", ("k1", "https://runapi.ai")),
        ("RUNAPI_API_KEY", "", ("", "https://runapi.ai")),
        ("OTHER=k1", "", ("", "https://runapi.ai")),
    ],
)
def test_hermes(home, env, config, expected):
    """Hermes Agent's key and base URL are read; a damaged file is skipped."""
    _write(home / ".hermes/.env", env)
    _write(home / ".hermes/config.yaml", config)
    access = resolve_access(Settings())
    assert (access.key.reveal(), access.base_url) == expected


def test_hermes_home(tmp_path, monkeypatch):
    """``HERMES_HOME`` is the folder of Hermes Agent."""
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "elsewhere"))
    path = _write(tmp_path / "elsewhere/.env", f"RUNAPI_API_KEY={KEY}")
    access = resolve_access(Settings())
    assert (access.key.reveal(), access.key_source) == (KEY, f"{path} (Hermes Agent)")


def test_the_order_of_base_urls(home, monkeypatch):
    """The base URL of the setting, the environment and the key's file are used in this order."""
    settings = Settings(base_url="https://setting.ai/api/v1")
    monkeypatch.setenv("RUNAPI_BASE_URL", "https://environment.ai/")
    _write(home / ".config/runapi/config.json", {"api_key": KEY, "base_url": "https://file.ai/v1"})
    found = [resolve_access(settings)]
    settings.base_url = ""
    found.append(resolve_access(settings))
    monkeypatch.delenv("RUNAPI_BASE_URL")
    found.append(resolve_access(settings))
    monkeypatch.setenv("RUNAPI_API_KEY", "sk-other")
    found.append(resolve_access(settings))
    assert [(access.base_url, access.base_url_source) for access in found] == [
        ("https://setting.ai", "%config RunAPIMagics.base_url"),
        ("https://environment.ai", "RUNAPI_BASE_URL"),
        ("https://file.ai", "~/.config/runapi/config.json (RunAPI CLI)"),
        ("https://runapi.ai", "default"),
    ]


GOOD_URLS = {
    "https://runapi.ai": "https://runapi.ai",
    " https://runapi.ai/ ": "https://runapi.ai",
    "https://runapi.ai/v1": "https://runapi.ai",
    "https://runapi.ai/v1/": "https://runapi.ai",
    "https://runapi.ai/api/v1": "https://runapi.ai",
    "HTTPS://RunAPI.ai/v1": "https://runapi.ai",
    "https://runapi.ai:8443/v1": "https://runapi.ai:8443",
    "https://10.0.0.5": "https://10.0.0.5",
    "https://[2001:db8::1]:8443": "https://[2001:db8::1]:8443",
    "http://127.0.0.1:8000": "http://127.0.0.1:8000",
    "http://127.1.2.3": "http://127.1.2.3",
    "http://localhost:8000/v1": "http://localhost:8000",
    "http://simulator.localhost": "http://simulator.localhost",
    "http://[::1]:8000": "http://[::1]:8000",
}


@pytest.mark.parametrize(("url", "expected"), GOOD_URLS.items())
def test_valid_base_urls(url, expected):
    """A base URL is reduced to scheme, host and port; http is only for this machine."""
    assert normalize_base_url(url) == expected


BAD_URLS = {
    "runapi.ai": "no scheme",
    "//runapi.ai": "no scheme",
    "http://runapi.ai": "plain http",
    "http://127.evil.com": "plain http",
    "http://127.0.0.1.evil.com": "plain http",
    "http://localhost.evil.com": "plain http",
    "http://evil-localhost": "plain http",
    "http://192.168.1.4:8000": "plain http",
    "http://0.0.0.0:8000": "plain http",
    "http://2130706433": "plain http",
    "https://runapi.ai/v2": "path",
    "https://runapi.ai/v1/text_to_image": "path",
    "https://user@runapi.ai": "more than a scheme, host",
    "https://user:pass@runapi.ai": "more than a scheme, host",
    "https://runapi.ai?a=b": "more than a scheme, host",
    "https://runapi.ai/#a": "more than a scheme, host",
    "https://runapi.ai:99999": "not a URL",
    "https://runapi.ai:port": "not a URL",
    "https://[::1": "not a URL",
    "": "",
}


@pytest.mark.parametrize(("url", "what"), BAD_URLS.items())
def test_invalid_base_urls(url, what):
    """An invalid base URL, or one that would send the key unencrypted, is refused."""
    with pytest.raises(ConfigurationError) as caught:
        normalize_base_url(url)
    assert what in caught.value.what
    assert "https" in caught.value.todo


@pytest.mark.parametrize("url", ["ftp://runapi.ai", "https:///v1", "https://", "file:///etc"])
def test_the_reason_of_an_invalid_base_url(url):
    """The error of a URL that has a scheme does not say that the scheme is missing."""
    with pytest.raises(ConfigurationError) as caught:
        normalize_base_url(url)
    assert "has no scheme" not in caught.value.what


@pytest.mark.parametrize(
    "url", ["https://run api.ai", "https://runapi.ai\\evil", "https://a\u2100b"]
)
def test_invalid_hosts(url):
    """A host that the HTTP client would refuse is refused at once."""
    with pytest.raises(ConfigurationError):
        normalize_base_url(url)


def test_credentials_in_a_base_url_are_not_shown():
    """The error does not contain a password or a key from the base URL."""
    shown = []
    for url in (f"https://user:{KEY}@runapi.ai", f"https://user:{KEY}@runapi.ai:99999x", KEY):
        with pytest.raises(ConfigurationError) as caught:
            normalize_base_url(url)
        shown.append(KEY in str(caught.value))
    assert shown == [False, False, False]


@PROPERTY
@given(
    st.text()
    | st.text().map("https://{}".format)
    | st.from_regex(r"https?://[a-z0-9.:@/\[\]?#%-]+")
)
def test_any_base_url(url):
    """Any text is either refused or reduced to a valid base URL."""
    try:
        origin = normalize_base_url(url)
    except ConfigurationError:
        return
    assert normalize_base_url(origin) == origin
    assert origin.startswith(("https://", "http://localhost", "http://127.", "http://["))


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("localhost", True), ("LOCALHOST.", True), ("a.localhost", True), ("127.0.0.1", True),
     ("127.255.255.254", True), ("::1", True), ("localhost.com", False), ("127.evil.com", False),
     ("10.0.0.1", False), ("0.0.0.0", False), ("", False), ("runapi.ai", False)],
)  # fmt: skip
def test_loopback_hosts(host, is_here):
    """This machine is recognised by its names and addresses, without a DNS lookup."""
    assert is_loopback_host(host) is is_here


SECRET = Secret(KEY)


@pytest.mark.parametrize(
    "shown",
    [
        lambda: repr(SECRET),
        lambda: str(SECRET),
        lambda: f"{SECRET} {SECRET!r} {SECRET!s}",
        lambda: "%s %r" % (SECRET, SECRET),  # noqa: UP031 (another way to show it)
        lambda: "{}".format(SECRET),  # noqa: UP032 (as above)
        lambda: repr([SECRET, {"a": SECRET}]),
        lambda: repr(Access("https://runapi.ai", SECRET, "x", "y")),
        lambda: repr(Settings(api_key=KEY).traits(config=True)),
        lambda: repr(Settings(api_key=KEY).trait_values()),
        lambda: Settings.class_get_help(Settings(api_key=KEY)),
        lambda: Settings(api_key=KEY).class_config_section(),
        lambda: str(Settings(api_key=KEY).api_key),
        lambda: json.dumps({"a": SECRET}, default=str),
        lambda: str(logging.makeLogRecord({"msg": "%s", "args": (SECRET,)}).getMessage()),
    ],
)
def test_the_key_is_not_shown(shown):
    """No usual way to show a value shows more than the last four characters of the key."""
    text = shown()
    assert KEY not in text
    assert KEY[:-4] not in text
    assert "0123456789" not in text


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, copy.copy, json.dumps])
def test_the_key_is_not_written(write):
    """The key cannot be pickled, copied or converted to JSON."""
    with pytest.raises(TypeError) as caught:
        write(SECRET)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("", "(not set)"), ("short", "…"), ("elevenchars", "…"), ("twelve-chars", "…hars"),
     (KEY, "…cdef")],
)  # fmt: skip
def test_the_hint(key, hint):
    """The hint has the last four characters of a long key, and none of a short key."""
    assert repr(Secret(key)) == hint


def test_secrets_compare_by_value():
    """Equal keys are equal, so that a changed key is noticed."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert bool(Secret("a"))
    assert not Secret("")


@pytest.mark.parametrize("value", [12345, b"sk-test-bytes", None, ["sk-test-list"]])
def test_a_key_of_a_wrong_type(value):
    """A key of a wrong type is refused, and is not shown."""
    with pytest.raises(TraitError) as caught:
        Settings(api_key=value)
    assert "sk-test" not in str(caught.value)
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "tab\t", "ключ", "a\x00b"])
def test_invalid_keys(key, home):
    """A key that cannot be sent is refused, and is not shown."""
    with pytest.raises(ConfigurationError) as caught:
        Access("https://runapi.ai", Secret(key), "RUNAPI_API_KEY", "default").require_key()
    assert "RUNAPI_API_KEY" in caught.value.what
    assert key not in str(caught.value)
    assert not is_key(key)


def test_settings_from_a_configuration():
    """Settings are read from ``ipython_config.py``."""
    config = Config({"Settings": {"model": "gpt-4o-image", "api_key": KEY, "aspect_ratio": "3:2"}})
    settings = Settings(config=config)
    assert (settings.model, settings.aspect_ratio) == ("gpt-4o-image", "3:2")
    assert settings.api_key.reveal() == KEY


@pytest.mark.parametrize(
    ("name", "value"),
    [("aspect_ratio", "7:5"), ("output_resolution", "8k"), ("preview_size", 10), ("timeout", 0),
     ("preview_quality", 100), ("max_download_mb", 0), ("max_megapixels", 0), ("toolbar", "yes")],
)  # fmt: skip
def test_settings_out_of_bounds(name, value):
    """An invalid setting is refused when it is set, with its name."""
    with pytest.raises(TraitError, match=name):
        setattr(Settings(), name, value)


def test_every_setting_has_a_help_text():
    """Every setting has a line of help in ``%config``."""
    assert all(trait.help for trait in Settings.class_traits(config=True).values())


@pytest.mark.posix
def test_login_writes_a_private_file(home):
    """A stored key is in a file that only its owner can read, and is found again."""
    path = save_key(f"  {KEY}\n")
    assert path == home / ".config/runapi/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert resolve_access(Settings()).key.reveal() == KEY
    assert {*json.loads(path.read_text())} == {"api_key", "created_at"}


@pytest.mark.posix
def test_login_keeps_other_values(home):
    """A stored key replaces the old one; the other values of the file are kept."""
    path = _write(
        home / ".config/runapi/config.json",
        {"apiKey": "old", "base_url": "https://eu.runapi.ai", "other": {"a": [1]}},
    )
    path.chmod(0o644)
    save_key(KEY)
    stored = json.loads(path.read_text())
    assert stored.pop("created_at")
    assert stored == {"api_key": KEY, "base_url": "https://eu.runapi.ai", "other": {"a": [1]}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("key", ["", "  ", "two words", "a\nb", "ключ"])
def test_login_refuses_an_invalid_key(key, home):
    """An invalid key is not stored."""
    with pytest.raises(ConfigurationError, match="not an API key"):
        save_key(key)
    assert not (home / ".config").exists()


def test_login_without_permission(home):
    """If the file cannot be written, the error names it and another way."""
    (home / ".config").write_text("a file in the way")
    with pytest.raises(ConfigurationError) as caught:
        save_key(KEY)
    assert "config.json" in caught.value.what
    assert "RUNAPI_API_KEY" in caught.value.todo
    assert KEY not in str(caught.value)


def test_login_over_a_corrupt_file(home):
    """A new login replaces a damaged file."""
    _write(home / ".config/runapi/config.json", "{broken")
    with pytest.raises(ConfigurationError, match="login"):
        resolve_access(Settings())
    save_key(KEY)
    assert resolve_access(Settings()).key.reveal() == KEY


def test_the_data_folder(tmp_path, monkeypatch):
    """The journal is in ``RUNAPI_MAGIC_HOME``, by default in the platform's data folder."""
    assert data_home() == tmp_path / "data"
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", "~/here")
    assert data_home() == tmp_path / "home/here"
    monkeypatch.delenv("RUNAPI_MAGIC_HOME")
    assert data_home().name == "runapi-magic"


def test_a_relative_data_folder_stays(monkeypatch, tmp_path):
    """A relative RUNAPI_MAGIC_HOME does not depend on later changes of the working directory."""
    monkeypatch.chdir(tmp_path)
    assert data_home({"RUNAPI_MAGIC_HOME": "mine"}) == tmp_path / "mine"
