"""The files of a TLS connection to the broker, opened with an error that says what to do.

It must not know what the connection is for.
"""

import ssl
from datetime import datetime, timedelta
from pathlib import Path

from collector.errors import InvalidRequest
from collector.intake.wire import Tls
from contract.certificate import BadCertificate, certificate_facts

# As the authority's own list warns.
EXPIRES_SOON = timedelta(days=90)

_HINT = "songlo fleet rotate makes a service's key and certificate; both are installed together"


def context_of(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or later with these files. Raises InvalidRequest where they cannot be used."""
    for name in (tls.ca_file, tls.certificate_file, tls.key_file):
        if name is not None and not Path(name).is_file():
            raise InvalidRequest(f"{name} does not exist", hint=_HINT)
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # which ssl.SSLError is too
        text = f"{tls.ca_file} cannot be used as the broker's authority: {error}"
        raise InvalidRequest(text, hint="it is broker-ca.pem of the authority") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate_file is None:
        return context
    try:
        # Nobody is there to be asked for a passphrase.
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except ssl.SSLError as error:
        text = f"{tls.certificate_file} and {tls.key_file} cannot be used: {error}"
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{tls.key_file} is not the key of the certificate in {tls.certificate_file}"
        raise InvalidRequest(text, hint=_HINT) from error
    except OSError as error:
        raise InvalidRequest(f"{tls.key_file}: {error.strerror}", hint=_HINT) from error
    return context


def concern(tls: Tls, now: datetime) -> str:
    """What is, or soon will be, wrong with our own certificate; empty if nothing is."""
    if tls.certificate_file is None:
        return ""
    try:
        facts = certificate_facts(Path(tls.certificate_file).read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, BadCertificate) as error:
        return f"{tls.certificate_file}: {error}"
    end = facts.not_after_at.date()
    if now >= facts.not_after_at:
        return f"the certificate of {facts.common_name} has run out ({end})"
    if now < facts.not_before_at:
        return f"the certificate of {facts.common_name} is not good yet: is the clock behind?"
    if now >= facts.not_after_at - EXPIRES_SOON:
        days = (facts.not_after_at - now).days
        return f"the certificate of {facts.common_name} runs out in {days} days ({end})"
    return ""
