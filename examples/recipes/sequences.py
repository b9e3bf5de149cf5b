"""Sequences of unlike length, padded or packed: three ways in, and one loss, the mean over all tokens.

Padded labels of -100 do not count by themselves. A criterion with a mask of its own is weighted by that mask, which is
found in the batch. A packed batch holds no padding at all.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence

import lossatlas as la


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.gru, self.head = nn.Embedding(20, 8), nn.GRU(8, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, words):
        if isinstance(words, PackedSequence):
            return self.head(self.gru(words._replace(data=self.embed(words.data)))[0].data)  # (tokens, 5)
        return self.head(self.gru(self.embed(words))[0]).transpose(1, 2)  # (sequences, 5, steps)


def masked_mean(output, labels_and_mask):
    labels, mask = labels_and_mask
    return (cross_entropy(output, labels, reduction="none") * mask).sum() / mask.sum()


torch.manual_seed(0)
model, lengths = Tagger(), torch.randint(3, 12, (50,)).tolist()
words, tags = ([torch.randint(most, (n,)) for n in lengths] for most in (20, 5))
ignored, masked, packed = [], [], []
for rows in (slice(start, start + 16) for start in range(0, 50, 16)):
    x, y = pad_sequence(words[rows], batch_first=True), pad_sequence(tags[rows], batch_first=True, padding_value=-100)
    ignored.append((x, y))
    masked.append({"x": x, "y": y.clamp(min=0), "mask": (y >= 0).float()})
    packed.append(tuple(pack_sequence(part[rows], enforce_sorted=False) for part in (words, tags)))
loss = la.Loss.of(model, ignored, nn.CrossEntropyLoss())
by_mask = la.Loss.of(model, masked, masked_mean, forward=lambda module, b: (module(b["x"]), (b["y"], b["mask"])))
by_packing = la.Loss.of(model, packed, nn.CrossEntropyLoss(), forward=lambda module, b: (module(b[0]), b[1].data))
print([float(one(loss.theta)) for one in (loss, by_mask, by_packing)])
