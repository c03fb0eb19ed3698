"""The stream is cut where its end begins, however the bytes arrive."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.sse import StreamTail
from serving.catalog.endpoints import DONE

METER = b'{"prompt_tokens":1}'
events = st.lists(
    st.sampled_from(
        [
            b'data: {"content":"hello"}\n\n',
            b'data: {"content":"\\n\\ndata: [DONE]\\n\\n: meter {}"}\n\n',
            b"data: {}\n\n",
            b": ping\n\n",
            b"event: x\ndata: d\n\n",
        ]
    ),
    max_size=6,
)


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    return [*chunks, stream]


@given(events, st.lists(st.integers(0, 9), max_size=60), st.booleans())
def test_content_passes_and_the_end_is_kept_with_its_meter(
    content: list[bytes], sizes: list[int], has_done: bool
) -> None:
    done = b"data: [DONE]\n\n" if has_done else b""
    stream = b"".join(content) + done + b": meter " + METER + b"\n\n"
    tail = StreamTail([DONE])
    passed = b"".join(tail.feed(chunk) for chunk in cut(stream, sizes))
    assert passed == b"".join(content)
    assert tail.end == done
    assert tail.meter == METER


@given(events, st.lists(st.integers(0, 9), max_size=60), st.integers(0, 40))
def test_a_stream_that_breaks_has_no_meter_and_loses_nothing(
    content: list[bytes], sizes: list[int], missing: int
) -> None:
    stream = b"".join(content) + b"data: [DONE]\n\n: meter " + METER + b"\n\n"
    stream = stream[: len(stream) - 1 - missing]
    tail = StreamTail([DONE])
    passed = b"".join(tail.feed(chunk) for chunk in cut(stream, sizes))
    assert tail.meter is None
    assert (b"".join(content) + b"data: [DONE]\n\n").startswith(passed + tail.end) or stream == passed + tail.end


def test_a_chunk_is_passed_on_at_once() -> None:
    tail = StreamTail([DONE])
    for _ in range(3):
        assert tail.feed(b'data: {"content":"hello"}\n\n') == b'data: {"content":"hello"}\n\n'
