import hashlib
from pathlib import Path

import pytest

from canari.blobs import FolderBlobs


def test_what_is_put_is_got_back_under_its_digest(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put("samples/drift", b"row")
    assert digest == hashlib.sha256(b"row").hexdigest()
    assert blobs.put("samples/drift", b"row") == digest
    assert blobs.get("samples/drift", digest) == b"row"
    assert [f.name for f in (tmp_path / "samples" / "drift").iterdir()] == [digest]


def test_one_folder_does_not_see_anothers_blobs(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put("one", b"row")
    with pytest.raises(KeyError):
        blobs.get("two", digest)


def test_what_is_deleted_is_gone_and_may_be_deleted_again(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    kept, gone = blobs.put("subjects/ann", b"kept"), blobs.put("subjects/ann", b"gone")
    for _ in range(2):
        blobs.delete("subjects/ann", gone)
    with pytest.raises(KeyError):
        blobs.get("subjects/ann", gone)
    assert blobs.get("subjects/ann", kept) == b"kept"


def test_a_subjects_folder_is_erased_whole_and_alone(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    ann, bob = blobs.put("subjects/ann", b"one"), blobs.put("subjects/bob", b"one")
    for _ in range(2):
        blobs.delete_folder("subjects/ann")
    with pytest.raises(KeyError):
        blobs.get("subjects/ann", ann)
    assert blobs.get("subjects/bob", bob) == b"one"


@pytest.mark.parametrize("folder", ["", "..", "../up", "a/../b", "/root", "a//b", "a/", ".hidden", "a\x00b", "a\n"])
def test_a_folder_that_leads_out_of_the_store_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ValueError, match="cannot be a blob folder"):
        FolderBlobs(tmp_path).put(folder, b"x")


def test_a_name_that_is_no_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        FolderBlobs(tmp_path).get("samples", "../../secret")
