"""Files of any size in which every eight bytes tell their own place; only what is read exists."""

from array import array

MOST_BYTES = 64 * 1024**2


class LargeContent:
    """So many bytes, as far as slices of them are asked for."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, asked: slice) -> bytes:
        start, stop, _ = asked.indices(self._size)
        assert stop - start <= MOST_BYTES, "more is asked for at once than any test wants"
        first = start // 8
        words = array("Q", range(first, -(-stop // 8))).tobytes()
        return words[start - 8 * first : stop - 8 * first]
