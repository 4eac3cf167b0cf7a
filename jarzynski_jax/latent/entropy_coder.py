"""A stack of bits: symbols are pushed with the probabilities of a model, and popped with them.

Asymmetric numeral systems, by the library constriction (extra ``compression``), which checks
neither that probabilities are numbers nor that there are bits left to pop. Here both are seen
to. Its probabilities have 24 bits: the rarest symbol costs 24, and a table of M symbols loses
some M/2^24 of each symbol's probability.

Reference: Duda, *Asymmetric numeral systems*, 2013.
"""

from typing import Any

import numpy as np

__all__ = ["BitStack", "OutOfBits"]

#: Bits that must be left after a pop, or symbols may have been made up of nothing.
_RESERVE = 32


class OutOfBits(ValueError):
    """More was popped than the stack held: what came out is no sample of the odds given."""


class BitStack:
    """Last in, first out; it starts with the words given, uint32, which may be any.

    ValueError if the words are not of that dtype. ImportError without constriction.

    Examples
    --------
    >>> stack = BitStack(np.arange(4, dtype=np.uint32))
    >>> odds = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    >>> stack.push(np.array([1, 2]), odds)  # 2 + 0.32 bits
    >>> stack.num_bits - 128, stack.pop(odds).tolist(), stack.words().tolist()
    (2, [1, 2], [0, 1, 2, 3])
    """

    def __init__(self, words: np.ndarray) -> None:
        if words.dtype != np.uint32 or words.ndim != 1:
            raise ValueError(
                f"words must be uint32 of shape (n,); got {words.dtype} of {words.shape}"
            )
        stream = _constriction().stream
        # Sealed, so that a last word of zero counts. Always the same form of the table, for
        # another would decode other symbols.
        self._coder = stream.stack.AnsCoder(words, seal=True)
        self._table = stream.model.Categorical(perfect=False)

    @property
    def num_bits(self) -> int:
        """How many bits are on the stack, without its seal."""
        return int(self._coder.num_valid_bits())

    def words(self) -> np.ndarray:
        """All that is on the stack, uint32; the stack stays as it is.

        ValueError if it is not whole words: what was popped has not been pushed back.
        """
        try:
            return self._coder.get_compressed(unseal=True)
        except (AssertionError, ValueError) as error:
            raise ValueError(f"the stack is not as it was sealed: {error}") from error

    def sealed_words(self) -> np.ndarray:
        """All that is on the stack with its seal, for :meth:`from_sealed`."""
        return self._coder.get_compressed()

    @classmethod
    def from_sealed(cls, words: np.ndarray) -> "BitStack":
        """Take up a stack where :meth:`sealed_words` left it; ValueError if they are none."""
        stack = cls(np.zeros(0, np.uint32))
        try:
            stack._coder = _constriction().stream.stack.AnsCoder(words)
        except ValueError as error:
            raise ValueError(f"these are no words of a stack: {error}") from error
        return stack

    def push(self, symbols: np.ndarray, probabilities: np.ndarray) -> None:
        r"""Push symbols, shape ``(S,)``, at a cost of :math:`-\log_2 p` bits each.

        Probabilities are float64, one row of M a symbol, and need not be normalised. ValueError
        if they are not finite, negative or all zero, or a symbol has no row or probability 0.
        """
        table = _checked(probabilities)
        symbols = np.asarray(symbols)
        if symbols.shape != table.shape[:1] or symbols.dtype.kind not in "iu":
            raise ValueError(
                f"symbols must be {table.shape[0]} integers, one a row of probabilities; got "
                f"{symbols.dtype} of shape {symbols.shape}"
            )
        if np.any((symbols < 0) | (symbols >= table.shape[1])):
            raise ValueError(
                f"symbols must be from 0 to {table.shape[1] - 1}; got {symbols.min()} to "
                f"{symbols.max()}"
            )
        self._coder.encode_reverse(symbols.astype(np.int32), self._table, table)

    def pop(self, probabilities: np.ndarray) -> np.ndarray:
        """Pop a symbol for each row, int32; the inverse of :meth:`push`.

        ValueError as there; OutOfBits if too little is left.
        """
        symbols = self._coder.decode(self._table, _checked(probabilities))
        if self.num_bits < _RESERVE:
            raise OutOfBits(
                f"only {self.num_bits} bits are left on the stack: start with more seed words"
            )
        return symbols


def _checked(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.dtype != np.float64 or probabilities.ndim != 2:
        raise ValueError(
            "probabilities must be float64 of shape (S, M), at the encoder and at the decoder; "
            f"got {probabilities.dtype} of {probabilities.shape}"
        )
    totals = probabilities.sum(axis=1)
    if not (np.all(np.isfinite(totals)) and np.all(totals > 0) and np.all(probabilities >= 0)):
        raise ValueError(
            "probabilities must be finite, not negative, and not all zero in a row"
        )
    return probabilities / totals[:, None]


def _constriction() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "entropy coding needs the extra 'compression': pip install "
            "'jarzynski-jax[compression]'"
        ) from error
    return constriction
