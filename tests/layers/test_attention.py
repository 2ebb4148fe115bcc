"""Operators against their whole matrices: rows, columns, products, at small sizes."""

import pytest
import torch

from contextseg.layers import attention
from contextseg.layers.attention import Attention, Chain, Dense, DotProduct, Factored, Mean, QueryKey, Rest
from contextseg.layers.criss_cross import CrissCross, attention_map

SIZE, OTHER = (3, 4), (2, 5)
N, M = 12, 10


class Plain(Attention):
    """The matrix by its rows alone, so that all else is computed from them."""

    def __init__(self, matrix):
        super().__init__(SIZE, OTHER)
        self.matrix = matrix

    def rows(self, places):
        return self.matrix[places]


def operators():
    """Each operator with its matrix, by name."""
    torch.manual_seed(0)
    found = {}
    matrix, square = torch.rand(N, M), torch.rand(N, N)
    found["plain"] = Plain(matrix), matrix
    found["dense"] = Dense(matrix, SIZE, OTHER), matrix
    found["rest"] = Rest(Dense(matrix, SIZE, OTHER)), 1 - matrix
    query, key = 3 * torch.randn(N, 6), 3 * torch.randn(M, 6)
    product = DotProduct(query, key, SIZE, OTHER)
    found["dot"] = product, (query @ key.T).softmax(1)
    taken, gathered = torch.rand(N, 5), torch.rand(5, M)
    found["factored"] = Factored(taken, gathered, SIZE, OTHER), taken @ gathered
    found["chain"] = Chain([product, Dense(square, SIZE, SIZE)]), square @ (query @ key.T).softmax(1)
    found["mean"] = Mean([product, Plain(matrix)]), ((query @ key.T).softmax(1) + matrix) / 2
    cross = CrissCross(attention_map(*torch.randn(2, 1, *SIZE, 6))[0])
    whole = torch.stack([cross.pull(row[None])[0] for row in torch.eye(N)])
    found["criss-cross"] = cross, whole
    return found


@pytest.mark.parametrize("name", ["plain", "dense", "rest", "dot", "factored", "chain", "mean", "criss-cross"])
@pytest.mark.parametrize("chunk", [2**24, 25])
def test_an_operator_is_its_matrix(name, chunk, monkeypatch):
    operator, matrix = operators()[name]
    monkeypatch.setattr(attention, "CHUNK", chunk)  # 25 numbers: two rows at a time
    asked = matrix.shape[1]
    places = torch.tensor([0, 7, 7, 3])
    torch.testing.assert_close(operator.rows(places), matrix[places])
    torch.testing.assert_close(operator.columns(places % asked), matrix[:, places % asked].T)
    torch.testing.assert_close(operator.pull(torch.eye(N)), matrix)
    torch.testing.assert_close(operator.push(torch.eye(asked)), matrix.T)
    found = list(operator.by_chunks())
    assert len(found) == (1 if chunk > 25 else N // 2)
    torch.testing.assert_close(torch.cat([rows for _, rows in found]), matrix)


def test_points_of_a_larger_map_lie_in_places():
    matrix = torch.rand(N, M)
    operator = Dense(matrix, SIZE, OTHER)
    assert torch.equal(operator.row((29, 39), (30, 40)), matrix[11].view(OTHER))
    assert torch.equal(operator.column((14, 8), (30, 40)), matrix[:, 1].view(SIZE))
    assert torch.equal(operator.column((15, 8), (30, 40)), matrix[:, 6].view(SIZE))


def test_large_products_do_not_overflow():
    query, key = 100 * torch.randn(N, 6), 100 * torch.randn(M, 6)
    operator = DotProduct(query, key, SIZE, OTHER)
    expected = QueryKey(query[None], key[None]).weights()[0]
    torch.testing.assert_close(operator.columns(torch.arange(M)).T, expected, atol=1e-2, rtol=0)  # of numbers near 1e5
    assert operator.columns(torch.arange(M)).isfinite().all()
