"""Several texts in one row of tokens, every beginning that they share computed once."""

from os.path import commonprefix  # of any sequences
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from real.data.tokens import Encoded


class Packed(NamedTuple):
    """A trie: a node sees itself and its ancestors, so what is computed at `paths[i]` is that of text i alone."""

    input_ids: Int[Tensor, "1 node"]
    position_ids: Int[Tensor, "1 node"]  # depth in the trie
    attention_mask: Bool[Tensor, "1 1 node node"]  # [.., i, j]: node i sees node j
    paths: list[Int[Tensor, " pos"]]  # of every text, the nodes of its tokens


ROW = 384  # nodes: attention costs their square, a shared template once per row
ROW_BF16 = 640  # of a row that a CPU only reads in bfloat16: its products are quick, and like to be larger
ROW_GPU = 2048  # of a row that a GPU only reads


def pack(texts: list[Encoded]) -> Packed:
    """Shared templates, shared prompts and shared openings of answers become shared nodes; there is no padding."""
    nodes, depths, paths = {}, [], []
    for text in texts:
        path = [-1]
        for depth, token in enumerate(text.ids):
            node = nodes.setdefault((path[-1], token), len(nodes))
            if node == len(depths):
                depths.append(depth)
            path.append(node)
        paths.append(torch.tensor(path[1:]))
    sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for path in paths:  # no text gives a node another ancestor: the last to write is right
        sees[path[:, None], path] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
    ids = torch.tensor([token for _, token in nodes])
    return Packed(ids[None], torch.tensor(depths)[None], sees[None, None], paths)


def rows(texts: list[Encoded], most: int = ROW) -> list[list[int]]:
    """Indices of texts to pack together: neighbours in dictionary order, about `most` nodes to a row."""
    groups, size, last = [], most, []
    for i in sorted(range(len(texts)), key=lambda i: texts[i].ids):
        ids = texts[i].ids
        new = len(ids) - len(commonprefix([last, ids]))
        if size + new > most:
            groups.append([])
            size, new = 0, len(ids)
        groups[-1].append(i)
        size, last = size + new, ids
    return groups
