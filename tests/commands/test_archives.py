"""Archives: what is damaged where no member's checksum tells, and names that no published archive has."""

import gzip
import io
import os
import tarfile

import pytest
from fake_archives import tarred, zipped

from contextseg.commands.archives import Damaged, open_archive

FILES = {"a.txt": b"a" * 700, "b.txt": b"b" * 700, "c.txt": b"c"}


def contents(path):
    reader = open_archive(path)
    return list(reader.stream(set(reader.names)))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_tar_with_a_damaged_header_does_not_just_end_there(tmp_path, name):
    """tarfile takes a header that it cannot read for the end, unless it is the first."""
    path = tarred(tmp_path / name, FILES)
    assert [one for one, _ in contents(path)] == list(FILES)
    zipped_up = name.endswith("gz")
    data = bytearray(gzip.decompress(path.read_bytes()) if zipped_up else path.read_bytes())
    data[data.index(b"b.txt")] ^= 1  # its header has a checksum
    path.write_bytes(gzip.compress(data) if zipped_up else data)
    with pytest.raises(Damaged, match=r"a\.tar.*a damaged header at byte 1536"):
        open_archive(path)


def test_the_checksum_of_a_compressed_tar_is_looked_at(tmp_path):
    """It stands behind the last member, where tarfile does not read on."""
    path = tarred(tmp_path / "a.tgz", FILES)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="CRC check failed"):
        open_archive(path)


def test_of_two_members_of_one_name_none_is_lost(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for data in (b"1", b"2"):
            info = tarfile.TarInfo("a.txt")
            info.size = 1
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    zipped(tmp_path / "a.zip", {"a.txt": b"1", "./a.txt": b"2"})
    for name in ("a.tar", "a.zip"):
        assert contents(tmp_path / name) == [("a.txt", b"1"), ("a.txt", b"2")]


def test_a_member_without_a_name_is_refused(tmp_path):
    with pytest.raises(Damaged, match="the member '' has no name"):
        open_archive(zipped(tmp_path / "a.zip", {"": b"1"}))


def test_damage_inside_a_compressed_tar_is_refused_in_words(tmp_path):
    """Bytes changed in the middle: LZMA has an error class of its own."""
    path = tmp_path / "set.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        info = tarfile.TarInfo("a.bin")
        info.size = 4096
        tar.addfile(info, io.BytesIO(os.urandom(4096)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"set\.tar\.xz"):
        open_archive(path)
