"""Builder and parser of topics are inverse of each other, and nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import topics
from contract.topics import (
    AckTopic,
    BatchTopic,
    CommandTopic,
    ConfigTopic,
    ResultTopic,
    StatusTopic,
    Topic,
    TopicError,
    build,
    parse,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
EPOCHS = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
SEQS = st.integers(min_value=1, max_value=2**53 - 1)
TOPICS = st.one_of(
    st.builds(BatchTopic, NAMES, EPOCHS, SEQS),
    st.builds(AckTopic, NAMES),
    st.builds(StatusTopic, NAMES),
    st.builds(CommandTopic, NAMES, NAMES),
    st.builds(ResultTopic, NAMES, NAMES),
    st.builds(ConfigTopic, NAMES),
)


@given(TOPICS)
def test_parse_undoes_build(topic: Topic) -> None:
    assert parse(build(topic)) == topic


@given(st.text(max_size=120) | st.from_regex(r"songlo/v1/[a-z]{1,5}/[a-z/0-9]{0,60}"))
def test_build_undoes_parse(text: str) -> None:
    try:
        topic = parse(text)
    except TopicError:
        return
    assert build(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "songlo/v2/g/ack",
        "songlo/v1//ack",
        "songlo/v1/+/ack",
        "songlo/v1/#",
        "songlo/v1/g/ack/",
        "songlo/v1/g/batches/" + "0" * 32,
        "songlo/v1/g/batches/" + "0" * 32 + "/0",
        "songlo/v1/g/batches/" + "0" * 32 + "/01",
        "songlo/v1/g/batches/" + "0" * 31 + "/1",
        "songlo/v1/g/batches/" + "0" * 32 + "/9007199254740992",
        "songlo/v1/" + "g" * 65 + "/ack",
        "songlo/v1/g/batches/" + "0" * 32 + "/١",
    ],
)
def test_texts_that_are_no_topics(text: str) -> None:
    with pytest.raises(TopicError):
        parse(text)


@pytest.mark.parametrize(
    "topic",
    [AckTopic("a/b"), AckTopic(""), BatchTopic("g", "xyz", 1), BatchTopic("g", "0" * 32, 0),
     CommandTopic("g", "a b")],
)  # fmt: skip
def test_values_that_cannot_be_topics(topic: Topic) -> None:
    with pytest.raises(TopicError):
        build(topic)


def test_filters() -> None:
    assert topics.batches_filter() == "songlo/v1/+/batches/#"
    assert topics.shared("intake", topics.batches_filter()) == (
        "$share/intake/songlo/v1/+/batches/#"
    )
    assert topics.status_filter("g") == build(StatusTopic("g"))
    assert topics.ack_filter("g") == build(AckTopic("g"))
