"""The bounds that both sides keep, each with its unit and its reason."""

# A batch's payload. Well under what brokers accept (Mosquitto 2.1 defaults to 2 MB), large enough
# for about 1,000 meter reads, small enough that one lost packet costs little on a 2G link.
BATCH_BYTES_MAX = 64 * 1024

# A retained status with every meter of a large station stays under this.
STATUS_BYTES_MAX = 256 * 1024

# A command names at most a station's meters; a result has their values where these fit.
COMMAND_BYTES_MAX = 64 * 1024
RESULT_BYTES_MAX = 64 * 1024

# A command that is older than this has no meaning to whoever gave it, and need not be remembered
# any longer by the gateway that carried it out.
COMMAND_LIFETIME_MAX_S = 24 * 3600

# The signed station configuration: thousands of meters, and within the broker's message limit.
CONFIG_BYTES_MAX = STATUS_BYTES_MAX

# Names become one level of a topic, a common name in a certificate and a tag in InfluxDB.
NAME_CHARS_MAX = 64

# Words for people in an event, a result or a refusal: a screenful.
TEXT_CHARS_MAX = 1_000

# JSON numbers above 2**53 lose digits in many readers; a sequence number never gets there.
SEQ_MAX = 2**53 - 1

# Cumulative registers are signed 64-bit integers in every store.
ENERGY_MAX = 2**63 - 1

# A request for a certificate, or the answer: two certificates of 1 kB each, with room to spare.
ENROLMENT_BYTES_MAX = 32 * 1024
