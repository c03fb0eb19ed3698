"""Forms with a recording: transcriptions and translations."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from appliance.errors import InvalidRequest
from appliance.gateway.bodies.parsed import Parsed

MOST_FIELD_BYTES = 4096
MOST_HEADER_BYTES = 4096


def parse(body: bytes, content_type: str) -> Parsed:
    """Raises InvalidRequest. The recording is passed over: its length is the replica's to say."""
    fields = _read(body, content_type)
    if "file" not in fields:
        raise InvalidRequest("You must provide the recording in the field `file`.", param="file")
    if not fields.get("model"):
        raise InvalidRequest("You must provide the field `model`.", param="model")
    stream = fields.get("stream", "").lower() in ("true", "1", "on", "yes")
    return Parsed(model=fields["model"], stream=stream, prompt_bytes=0, recording=True)


def _read(body: bytes, content_type: str) -> dict[str, str]:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidRequest("Send the recording as multipart/form-data.")
    form = _Form()
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InvalidRequest("The body is not valid multipart/form-data.") from None
    return {name: bytes(value).decode(errors="replace") for name, value in form.fields.items()}


class _Form:
    """The fields' beginnings; of files no more than that they are there: nothing is spooled to a disk."""

    def __init__(self) -> None:
        self.fields: dict[str, bytearray] = {}
        self._name = ""
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
        }

    def _begin(self) -> None:
        self._name, self._is_file = "", False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end][:MOST_HEADER_BYTES]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end][:MOST_HEADER_BYTES]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode(errors="replace")
            self._is_file = b"filename" in options
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        self.fields[self._name] = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        value = self.fields[self._name]
        if not self._is_file and len(value) < MOST_FIELD_BYTES:
            value += data[start:end][:MOST_FIELD_BYTES]
