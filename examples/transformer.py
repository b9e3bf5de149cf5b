"""A transformer, with batches that are mappings: `forward=` says how a batch enters the module and what its target is.

The rows of a handwritten digit are a sequence of eight tokens with eight numbers each; some rows are masked, as padding
would be. The picture is the loss on the straight line from the initial to the trained weights.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import lossatlas as la


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
        self.embed, self.place = nn.Linear(8, 16), nn.Parameter(0.1 * torch.randn(8, 16))
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 10)

    def forward(self, rows, hidden):
        return self.head(self.encoder(self.embed(rows) + self.place, src_key_padding_mask=hidden).mean(1))


def enter(module, batch):
    return module(batch["rows"], batch["hidden"]), batch["digit"]


pixels, labels = load_digits(return_X_y=True)
torch.manual_seed(0)
rows, hidden = torch.tensor(pixels[:600] / 16).float().view(-1, 8, 8), torch.rand(600, 8) < 0.1
data = {"rows": rows, "hidden": hidden, "digit": torch.tensor(labels[:600])}
model = Reader()
initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(*enter(model, data)).backward()
    optimizer.step()
loss = la.Loss.of(model, data, nn.CrossEntropyLoss(), forward=enter, metrics={"accuracy": la.accuracy})
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
la.interpolate(loss, loss.layout.flatten(initial), loss.theta).atlas.plot().figure.savefig(folder / "transformer.png")
