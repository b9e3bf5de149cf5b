"""Detection: images of unlike size in a list, boxes in mappings, and several losses that the module computes itself.

No tensor of such a batch has a row for each image, so `count=` says how many there are. Matching and the sampling of
anchors are to be fixed: whatever is drawn in the forward pass is no function of θ, and is refused.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

import lossatlas as la


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.classes, self.boxes = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 4, 1)

    def forward(self, images, targets):
        of_class, of_box = [], []
        for image, target in zip(images, targets, strict=True):
            features = self.body(image).relu()
            y, x = target["cells"].T  # the cell that answers for each object
            of_class.append(cross_entropy(self.classes(features)[:, y, x].T, target["labels"]))
            of_box.append(smooth_l1_loss(self.boxes(features)[:, y, x].T, target["boxes"]))
        return {"class": torch.stack(of_class).mean(), "box": torch.stack(of_box).mean()}


torch.manual_seed(0)
model, examples = Detector(), []
for objects in torch.randint(1, 6, (20,)).tolist():
    height, width = torch.randint(8, 16, (2,)).tolist()
    cells = torch.stack([torch.randint(height, (objects,)), torch.randint(width, (objects,))], 1)
    target = {"cells": cells, "labels": torch.randint(3, (objects,)), "boxes": torch.rand(objects, 4)}
    examples.append((torch.randn(3, height, width), target))
loss = la.Loss.of(
    model,
    torch.utils.data.DataLoader(examples, batch_size=8, collate_fn=lambda pairs: tuple(zip(*pairs, strict=True))),
    lambda losses, _: losses["class"] + losses["box"],
    forward=lambda module, batch: (module(*batch), None),
    count=lambda batch: len(batch[0]),
)
print(loss, float(loss(loss.theta)))
