"""What a failed TLS handshake means, in words that say what to do. Pure: texts in, a text out."""

# Fragments of OpenSSL's messages (3.0 to 3.5) in lower case, the first that is found counts. An
# alert is what the other side said of our certificate; all else is what we think of the other's.
_MEANINGS = (
    ("alert certificate expired", "the broker says that our certificate has run out: renew it"),
    (
        "alert certificate revoked",
        "the broker says that our certificate was taken back: enrol with a new claim token",
    ),
    (
        "alert unknown ca",
        "the broker does not know the authority of our certificate: it is of another fleet",
    ),
    ("alert bad certificate", "the broker does not accept our certificate: its log says why"),
    ("alert unsupported certificate", "our certificate is for another purpose than this"),
    (
        "alert certificate required",
        "the broker wants a certificate and was shown none: give certificate_file and key_file",
    ),
    ("alert protocol version", "the broker speaks no TLS 1.2 or later"),
    ("hostname mismatch", "the broker's certificate is for another host name: see `host`"),
    ("ip address mismatch", "the broker's certificate is for another host name: see `host`"),
    (
        "certificate has expired",
        "the broker's certificate has run out, or this machine's clock is ahead",
    ),
    (
        "certificate is not yet valid",
        "the broker's certificate is not good yet: this machine's clock is behind (timedatectl)",
    ),
    (
        "unable to get local issuer certificate",
        "the broker's certificate is of another authority than ca_file",
    ),
    ("self-signed certificate", "the broker's certificate is of another authority than ca_file"),
    ("self signed certificate", "the broker's certificate is of another authority than ca_file"),
    ("certificate signature failure", "the broker's certificate only bears our authority's name"),
    ("wrong version number", "there is no TLS at this port: 8883 and 8884 have it, 1883 has not"),
)


def explained(reason: str) -> str:
    """The reason that OpenSSL gives, with what it means in front where that is known."""
    lower = reason.lower()
    for fragment, meaning in _MEANINGS:
        if fragment in lower:
            return f"{meaning} ({reason})"
    return reason
