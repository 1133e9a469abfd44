"""The files that a gateway is known by at the broker, looked at before they are used.

`NAME.pem` holds key and certificate together, so that one rename changes both and a power cut
never leaves a key with another's certificate. It must not know what a connection is for, and opens
none.
"""

import ssl
from datetime import datetime, timedelta

from contract.certificate import BadCertificate, certificate_facts
from gateway.config import Tls

# A visit to the station is planned within a quarter.
EXPIRES_SOON = timedelta(days=90)


class BadCredentials(Exception):
    """The files cannot be used: the text says which, why and what to do."""


def context_of(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or later with these files. Raises BadCredentials."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file))
    except OSError as error:  # which ssl.SSLError is too
        raise BadCredentials(_of_file(tls.ca_file, error, "the authority of the broker")) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate_file is None or tls.key_file is None:
        return context
    for path in (tls.certificate_file, tls.key_file):
        if not path.is_file():
            raise BadCredentials(f"{path} does not exist: songlo gateway enrol makes it")
    try:
        # Nobody is there to be asked for a passphrase.
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{tls.key_file} is not the key of the certificate in {tls.certificate_file}"
            raise BadCredentials(f"{text}: install both from one enrolment") from error
        what = "certificate and key of this gateway"
        raise BadCredentials(_of_file(tls.certificate_file, error, what)) from error
    except OSError as error:
        raise BadCredentials(_of_file(tls.key_file, error, "the gateway's key")) from error
    return context


def concern(tls: Tls, gateway: str, now: datetime) -> str:
    """What is, or soon will be, wrong with the certificate of `gateway`; empty if nothing is.

    None of it keeps a gateway from reading meters: what it reads waits in the outbox. Raises
    BadCredentials where the files cannot be used at all.
    """
    context_of(tls)
    if tls.certificate_file is None:
        return ""
    try:
        facts = certificate_facts(tls.certificate_file.read_text(encoding="ascii"))
    except (BadCertificate, OSError, UnicodeDecodeError) as error:
        raise BadCredentials(f"{tls.certificate_file}: {error}") from error
    end = facts.not_after_at.date()
    if facts.common_name != gateway:
        return (
            f"{tls.certificate_file} is the certificate of {facts.common_name}, and this gateway "
            f"is {gateway}: the broker would pass nothing on"
        )
    if now < facts.not_before_at:
        begin = facts.not_before_at.date()
        return f"the certificate is good from {begin} on: is the clock behind (timedatectl)?"
    if now >= facts.not_after_at:
        return f"the certificate has run out ({end}): renew it with songlo gateway enrol renew"
    if now >= facts.not_after_at - EXPIRES_SOON:
        days = (facts.not_after_at - now).days
        return f"the certificate runs out in {days} days ({end}): songlo gateway enrol renew"
    return ""


def _of_file(path: object, error: OSError, what: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist: it holds {what}"
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this user: it holds {what}"
    return f"{path} cannot be used as {what}: {error.strerror or error}"
