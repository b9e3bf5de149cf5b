"""A causal language model: every token is predicted from those before it, so labels are shifted by one.

Where the module shifts and computes its loss itself, as those of `transformers` do, there is no criterion. Where it
gives logits, `forward=` shifts. Both are the mean over the predicted tokens of all texts, of whatever length.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lossatlas as la


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.embed, self.body, self.head = nn.Embedding(30, 16), nn.TransformerEncoder(layer, 1), nn.Linear(16, 30)

    def forward(self, input_ids, labels=None):
        causal = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1])
        logits = self.head(self.body(self.embed(input_ids), mask=causal, is_causal=True))
        if labels is None:
            return logits
        return {"logits": logits, "loss": cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}


def shifted(module, batch):
    return module(batch["input_ids"])[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()


torch.manual_seed(0)
model, texts = LanguageModel(), torch.randint(30, (50, 12))
labels = texts.clone()
labels[torch.arange(12) >= torch.randint(3, 13, (50, 1))] = -100  # beyond the end of a text
batches = [{"input_ids": texts[at : at + 16], "labels": labels[at : at + 16]} for at in range(0, 50, 16)]
loss = la.Loss.of(model, batches)
by_logits = la.Loss.of(model, batches, nn.CrossEntropyLoss(), forward=shifted)
print(loss, float(loss(loss.theta)), float(by_logits(loss.theta)))
