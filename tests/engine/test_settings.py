"""Where the key and the base URL come from, and that the key is shown nowhere."""

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
    """A Colab kernel whose secrets are in a dictionary."""
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


def test_a_missing_key_names_the_three_ways_out():
    """Without a key the error says how to set one, type one, or do without."""
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
    """The setting, the environment, Colab, the CLI's file, Hermes: each wins over what follows."""
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


def test_a_blank_key_is_no_key(home, monkeypatch):
    """A source that holds only blanks is passed over, and blanks around a key are cut off."""
    monkeypatch.setenv("RUNAPI_API_KEY", "  \n")
    _write(home / ".config/runapi/config.json", {"api_key": f" {KEY}\n"})
    assert resolve_access(Settings()).key.reveal() == KEY


def test_an_earlier_source_hides_a_broken_file(home, monkeypatch):
    """A file that is not needed is not read: with a key in the environment it may be damaged."""
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
def test_places_of_the_cli_file(tmp_path, monkeypatch, environ, file, names):
    """The CLI's file is found in each of its places, under both spellings of its names."""
    for name, value in environ.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    _write(tmp_path / file, dict(zip(names, (KEY, "https://api.example.com/v1"), strict=True)))
    access = resolve_access(Settings())
    assert access.key.reveal() == KEY
    assert access.base_url == "https://api.example.com"
    assert access.base_url_source == access.key_source
    assert "config.json (RunAPI CLI)" in access.key_source


def test_the_cli_folder_wins_over_xdg(monkeypatch, tmp_path):
    """``RUNAPI_CONFIG_DIR`` is asked before ``XDG_CONFIG_HOME``, and ``~`` in it is the home."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("RUNAPI_CONFIG_DIR", "~/mine")
    assert cli_config_path() == tmp_path / "home/mine/config.json"


@pytest.mark.parametrize("content", ["", "{", "[1", "\x00", '{"api_key": "sk-secret-key-123'])
def test_a_corrupt_cli_file(home, content):
    """A broken file is named with what to do, and nothing of its content is shown."""
    path = _write(home / ".config/runapi/config.json", content)
    with pytest.raises(ConfigurationError) as caught:
        resolve_access(Settings())
    assert str(path) in caught.value.what
    assert "Repair or delete" in caught.value.todo
    assert "sk-secret" not in str(caught.value)


def test_a_cli_file_that_is_not_utf8(home):
    """A file in another encoding is a configuration error, not a traceback."""
    path = _write(home / ".config/runapi/config.json", "")
    path.write_bytes(b'{"api_key": "\xff\xfe"}')
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve_access(Settings())


@pytest.mark.parametrize("content", [[], "text", 3, None, {}, {"other": 1}, {"api_key": None}])
def test_a_cli_file_without_a_key(home, content):
    """A file that holds JSON but no key is passed over."""
    _write(home / ".config/runapi/config.json", json.dumps(content))
    assert not resolve_access(Settings()).key


def _colab_raises(monkeypatch, name):
    def get(_):
        raise type(name, (Exception,), {})("sk-not-to-be-shown")

    monkeypatch.setattr(sys.modules["google.colab.userdata"], "get", get)


def test_colab_without_the_secret(colab, monkeypatch):
    """Where Colab has no such secret there is no key, and the error says where to add it."""
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
def test_what_colab_says_is_told(colab, monkeypatch, name, words):
    """Where Colab does not give the secret, the error says so, and not that there is no key."""
    _colab_raises(monkeypatch, name)
    with pytest.raises(ConfigurationError) as caught:
        resolve_access(Settings())
    assert words in caught.value.what
    assert "sk-not" not in str(caught.value)


def test_another_key_serves_where_colab_refuses(home, colab, monkeypatch):
    """A key in the CLI's file is used where Colab does not give its secret."""
    _colab_raises(monkeypatch, "TimeoutException")
    _write(home / ".config/runapi/config.json", {"api_key": "sk-file"})
    assert resolve_access(Settings()).key.reveal() == "sk-file"


def test_another_users_home_says_nothing(home, monkeypatch):
    """A configuration folder that may not be entered is passed over, and is no error."""
    monkeypatch.setattr("pathlib.Path.read_text", _forbidden)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert not resolve_access(Settings()).key


def _forbidden(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_without_any_home_there_is_no_key_and_no_error(monkeypatch):
    """A user whom the system does not know, without HOME, has defaults."""
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
    """Hermes Agent's key and base URL are read as Hermes keeps them; damage is passed over."""
    _write(home / ".hermes/.env", env)
    _write(home / ".hermes/config.yaml", config)
    access = resolve_access(Settings())
    assert (access.key.reveal(), access.base_url) == expected


def test_hermes_home(tmp_path, monkeypatch):
    """``HERMES_HOME`` moves Hermes Agent's folder."""
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "elsewhere"))
    path = _write(tmp_path / "elsewhere/.env", f"RUNAPI_API_KEY={KEY}")
    access = resolve_access(Settings())
    assert (access.key.reveal(), access.key_source) == (KEY, f"{path} (Hermes Agent)")


def test_the_order_of_base_urls(home, monkeypatch):
    """The setting, the environment and the key's file name the base URL, in this order."""
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
def test_good_base_urls(url, expected):
    """A base URL is reduced to scheme, host and port; http is for this machine."""
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
def test_bad_base_urls(url, what):
    """What is no base URL, or would show the key to the network, is refused with the reason."""
    with pytest.raises(ConfigurationError) as caught:
        normalize_base_url(url)
    assert what in caught.value.what
    assert "https" in caught.value.todo


@pytest.mark.parametrize("url", ["ftp://runapi.ai", "https:///v1", "https://", "file:///etc"])
def test_bad_base_urls_are_not_lied_about(url):
    """An address that has a scheme is not told that it has none."""
    with pytest.raises(ConfigurationError) as caught:
        normalize_base_url(url)
    assert "has no scheme" not in caught.value.what


@pytest.mark.parametrize(
    "url", ["https://run api.ai", "https://runapi.ai\\evil", "https://a\u2100b"]
)
def test_hosts_that_no_client_takes(url):
    """A host that the HTTP client would choke on later is refused at once."""
    with pytest.raises(ConfigurationError):
        normalize_base_url(url)


def test_credentials_in_a_base_url_are_not_shown():
    """A password in a base URL, or a key in its place, does not get into the message."""
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
    """Any text is reduced to an origin that is itself a base URL, or refused in words."""
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
    """This machine is known by its names and addresses alone; nothing is looked up."""
    assert is_loopback_host(host) is is_here


SECRET = Secret(KEY)


@pytest.mark.parametrize(
    "shown",
    [
        lambda: repr(SECRET),
        lambda: str(SECRET),
        lambda: f"{SECRET} {SECRET!r} {SECRET!s}",
        lambda: "%s %r" % (SECRET, SECRET),  # noqa: UP031 (that is one more way to show it)
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
    """No usual way to show a value shows the key: at most an ellipsis and its last four."""
    text = shown()
    assert KEY not in text
    assert KEY[:-4] not in text
    assert "0123456789" not in text


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, copy.copy, json.dumps])
def test_the_key_is_not_written(write):
    """The key refuses to be pickled, copied or put into JSON."""
    with pytest.raises(TypeError) as caught:
        write(SECRET)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("", "(not set)"), ("short", "…"), ("elevenchars", "…"), ("twelve-chars", "…hars"),
     (KEY, "…cdef")],
)  # fmt: skip
def test_the_hint(key, hint):
    """A long key shows its last four characters, a short one none of them."""
    assert repr(Secret(key)) == hint


def test_secrets_compare_by_value():
    """Equal keys are equal, so that a changed key is noticed; nothing else is equal to a key."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert bool(Secret("a"))
    assert not Secret("")


@pytest.mark.parametrize("value", [12345, b"sk-test-bytes", None, ["sk-test-list"]])
def test_a_key_of_a_wrong_type(value):
    """A key of a wrong type is refused without showing it."""
    with pytest.raises(TraitError) as caught:
        Settings(api_key=value)
    assert "sk-test" not in str(caught.value)
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "tab\t", "ключ", "a\x00b"])
def test_what_is_no_key(key, home):
    """Text that cannot be sent as a key is refused before it is, without showing it."""
    with pytest.raises(ConfigurationError) as caught:
        Access("https://runapi.ai", Secret(key), "RUNAPI_API_KEY", "default").require_key()
    assert "RUNAPI_API_KEY" in caught.value.what
    assert key not in str(caught.value)
    assert not is_key(key)


def test_settings_from_a_configuration():
    """Settings come from ``ipython_config.py`` under their names."""
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
    """A setting that cannot be right is refused when it is set, by its name."""
    with pytest.raises(TraitError, match=name):
        setattr(Settings(), name, value)


def test_every_setting_explains_itself():
    """``%config`` has a line of help for every setting."""
    assert all(trait.help for trait in Settings.class_traits(config=True).values())


@pytest.mark.posix
def test_login_writes_a_private_file(home):
    """A stored key is in a file that only its owner may read, and is found from then on."""
    path = save_key(f"  {KEY}\n")
    assert path == home / ".config/runapi/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert resolve_access(Settings()).key.reveal() == KEY
    assert {*json.loads(path.read_text())} == {"api_key", "created_at"}


@pytest.mark.posix
def test_login_keeps_what_else_the_file_holds(home):
    """A stored key replaces the old one in both spellings; all else stays; the mode is private."""
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
def test_login_refuses_what_is_no_key(key, home):
    """What cannot be a key is not stored."""
    with pytest.raises(ConfigurationError, match="not an API key"):
        save_key(key)
    assert not (home / ".config").exists()


def test_login_where_nothing_can_be_written(home):
    """Where the file cannot be written the message names it, and another way."""
    (home / ".config").write_text("a file in the way")
    with pytest.raises(ConfigurationError) as caught:
        save_key(KEY)
    assert "config.json" in caught.value.what
    assert "RUNAPI_API_KEY" in caught.value.todo
    assert KEY not in str(caught.value)


def test_login_over_a_corrupt_file(home):
    """What the message about a corrupt file advises, a new login, works."""
    _write(home / ".config/runapi/config.json", "{broken")
    with pytest.raises(ConfigurationError, match="login"):
        resolve_access(Settings())
    save_key(KEY)
    assert resolve_access(Settings()).key.reveal() == KEY


def test_the_data_folder(tmp_path, monkeypatch):
    """``RUNAPI_MAGIC_HOME`` moves the journal; without it the platform's own folder is used."""
    assert data_home() == tmp_path / "data"
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", "~/here")
    assert data_home() == tmp_path / "home/here"
    monkeypatch.delenv("RUNAPI_MAGIC_HOME")
    assert data_home().name == "runapi-magic"


def test_a_relative_data_folder_stays(monkeypatch, tmp_path):
    """A relative RUNAPI_MAGIC_HOME is a folder of its own, whatever folder one goes to."""
    monkeypatch.chdir(tmp_path)
    assert data_home({"RUNAPI_MAGIC_HOME": "mine"}) == tmp_path / "mine"
