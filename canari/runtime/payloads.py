"""The payload of a predict request, out of whichever body it came in: raw, multipart or JSON."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from canari.errors import Problem
from canari.spec import InputKind

CONSENT = "keep"
"""What a header `x-canari-consent`, or a form's field `consent`, says where the input may be kept."""
_BINARY = ("application/octet-stream", "multipart/form-data", "application/json")
ACCEPTED: dict[InputKind, tuple[str, ...]] = {
    InputKind.IMAGE: ("image/*", *_BINARY),
    InputKind.AUDIO: ("audio/*", *_BINARY),
    InputKind.TEXT: ("text/plain", "application/json", "multipart/form-data"),
    InputKind.TABULAR: ("application/json",),
}
"""The content types each kind of model takes; a request without one is read as the first of the binary ones."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a body held: the input, and whether a form said that it may be kept."""

    content: bytes
    consent: bool = False


def check_content_type(kind: InputKind, content_type: str) -> None:
    """Raise Problem 415, listing what is accepted, where a model of this kind takes no such body."""
    media_type = _media_type(content_type)
    accepted = ACCEPTED[kind]
    if media_type and media_type not in accepted and f"{media_type.partition('/')[0]}/*" not in accepted:
        raise Problem(
            415,
            "unsupported-media-type",
            f"The content type {media_type!r} is not accepted; send one of: {', '.join(accepted)}.",
            accepted=list(accepted),
        )


def extract(kind: InputKind, content_type: str, body: bytes) -> Payload:
    """The payload that a family's `decode` reads; raises Problem 400 that says what the body should hold.

    Multipart: the file ``file``, else the first one, and the field ``consent``. JSON: for images and audio
    ``{"image" | "audio" | "content": base64}``, for text ``{"text" | "content": string}``; a table's JSON is itself the
    payload.
    """
    media_type = _media_type(content_type)
    if media_type == "multipart/form-data":
        return _from_multipart(content_type, body)
    if media_type == "application/json" and kind is not InputKind.TABULAR:
        return Payload(_from_json(kind, body))
    return Payload(body)


def unbase64(text: str) -> bytes:
    """The bytes of a base64 text (RFC 4648), or of a ``data:`` URL that holds one; raises Problem 400."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(400, "invalid-base64", f"The content is not base64 (RFC 4648): {error}.") from None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _from_multipart(content_type: str, body: bytes) -> Payload:
    files: list[tuple[bytes | None, bytes]] = []
    fields: list[tuple[bytes | None, bytes | None]] = []

    def keep(file: File) -> None:
        file.file_object.seek(0)
        files.append((file.field_name, file.file_object.read()))

    def note(field: Field) -> None:
        fields.append((field.field_name, field.value))

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    try:
        # The body is in memory and bounded already: nothing is ever written to a temporary file.
        parser = FormParser(
            "multipart/form-data", note, keep, boundary=boundary, config={"MAX_MEMORY_FILE_SIZE": len(body) + 1}
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, "invalid-multipart", f"The multipart body cannot be read: {error}.") from None
    if not files:
        raise Problem(400, "empty-input", "The form holds no file: send one in the field `file`.")
    content = next((content for name, content in files if name == b"file"), files[0][1])
    return Payload(content, (b"consent", CONSENT.encode()) in fields)


def _from_json(kind: InputKind, body: bytes) -> bytes:
    names = (kind.value, "content")
    what = "a string" if kind is InputKind.TEXT else "base64"
    expected = f'send {{"{kind.value}": "{what}"}}'
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid-json", f"The body is not JSON ({error}); {expected}.") from None
    found = next((document[name] for name in names if name in document), None) if isinstance(document, dict) else None
    if not isinstance(found, str):
        raise Problem(400, "invalid-json", f"The JSON holds no input; {expected}.")
    return found.encode() if kind is InputKind.TEXT else unbase64(found)
