"""Check certificates: create the TLS context, and explain why a certificate was refused."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from runapi_magic.errors import CertificateError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


_EXPIRED, _NOT_YET_VALID, _WRONG_HOST = 10, 9, {62, 64}  # OpenSSL's X509_V_ERR_*
_OF_A_PROXY = (
    "If a proxy or firewall inspects the connections of this machine, set SSL_CERT_FILE or"
    " REQUESTS_CA_BUNDLE to the PEM file of its certificates, and restart the kernel."
)


def create_tls_context() -> ssl.SSLContext:
    """Return a context that checks certificates.

    It trusts all certificates in ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` and ``REQUESTS_CA_BUNDLE``. If
    none of these is set, it trusts the certificates of the package certifi. This blocks.

    Raises:
        ConfigurationError: One of the variables names a path that does not exist, or a file without
            certificates.
    """
    import certifi

    context: ssl.SSLContext | None = None
    for variable, path in certificate_variables().items():
        files, folders = _split(variable, path)
        try:
            for file in files:
                context = _add(context, cafile=file)
            for folder in folders:
                context = _add(context, capath=folder)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = error.strerror if isinstance(error, OSError) else None
            raise _unusable(variable, path, f"cannot be read ({reason or error})") from None
    return context or ssl.create_default_context(cafile=certifi.where())


def _add(
    context: ssl.SSLContext | None, *, cafile: str | None = None, capath: str | None = None
) -> ssl.SSLContext:
    if context is None:  # without arguments, this would load the system's certificates
        return ssl.create_default_context(cafile=cafile, capath=capath)
    context.load_verify_locations(cafile=cafile, capath=capath)
    return context


def _split(variable: str, path: str) -> tuple[list[str], list[str]]:
    """Return the files and the folders in the value of a variable."""
    if variable == "SSL_CERT_DIR":  # OpenSSL accepts several folders, and skips missing ones
        folders = [folder for folder in path.split(os.pathsep) if Path(folder).is_dir()]
        if not folders:
            raise _unusable(variable, path, "is not a folder")
        return [], folders
    if Path(path).is_file():
        return [path], []
    if variable == "REQUESTS_CA_BUNDLE" and Path(path).is_dir():
        return [], [path]
    raise _unusable(variable, path, "does not exist")


def _unusable(variable: str, path: str, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable} is {path}, which {how}.",
        todo=f"Set it to a PEM file of certificates, or remove it: %env {variable}="
        if variable != "SSL_CERT_DIR"
        else f"Set it to a folder of certificates, or remove it: %env {variable}=",
    )


def refused_certificate(host: str, error: ssl.SSLCertVerificationError) -> CertificateError:
    """Return an error that says why the certificate of a host was refused and what to do."""
    if error.verify_code == _EXPIRED:
        return CertificateError(
            f"The certificate of {host} has expired.",
            todo="Check the date of this machine. If it is correct, the operator of that host must"
            " renew the certificate.",
        )
    if error.verify_code == _NOT_YET_VALID:
        return CertificateError(
            f"The certificate of {host} is not valid yet.", todo="Check the date of this machine."
        )
    if error.verify_code in _WRONG_HOST:
        return CertificateError(
            f"The certificate of {host} is for another host.",
            todo=f"Check the base URL (%runapi status). {_OF_A_PROXY}",
        )
    reason = error.verify_message or "certificate verify failed"
    return CertificateError(
        f"The certificate of {host} is not trusted ({reason}).", todo=_OF_A_PROXY
    )


def certificate_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for certificates that are set, with their values."""
    environ = os.environ if environ is None else environ
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    return {name: environ[name] for name in names if environ.get(name)}
