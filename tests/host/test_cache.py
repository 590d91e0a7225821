from concurrent.futures import ThreadPoolExecutor

from edgefer.host import cache


def test_what_is_stored_can_be_read_and_nothing_else_lies_beside_it(tmp_path):
    cache.store(tmp_path / "a" / "entry", b"one")
    cache.store(tmp_path / "a" / "entry", b"two")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "a").iterdir()] == [("entry", b"two")]


def test_a_cache_that_cannot_be_written_is_not_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache.store(tmp_path / "file" / "entry", b"content")
    assert (tmp_path / "file").read_bytes() == b""


def test_readers_see_whole_entries_alone(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(8)]
    cache.store(tmp_path / "entry", contents[0])
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(cache.store, tmp_path / "entry", content) for content in contents]
        seen = [(tmp_path / "entry").read_bytes() for _ in range(50)]
    assert all(write.done() for write in writes)
    assert set(seen) <= set(contents)
