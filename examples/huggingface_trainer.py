"""Hugging Face: record a `Trainer`'s training, then draw its path.

A small BERT with random weights reads the rows of handwritten digits as eight tokens each. Its batches are mappings and
it computes its own loss, so that `Loss.of` needs no criterion and no `forward=`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import lossatlas as la
from lossatlas.training.huggingface import RecorderCallback

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery")
folder.mkdir(parents=True, exist_ok=True)
pixels, labels = load_digits(return_X_y=True)
# A row of eight pixels is a token of its own: the number whose bits say which of them are dark.
tokens = (torch.tensor(pixels).view(-1, 8, 8) > 8).long() @ 2 ** torch.arange(8)
data = [{"input_ids": row, "labels": int(label)} for row, label in zip(tokens[:600], labels[:600], strict=True)]

torch.manual_seed(0)
config = BertConfig(
    vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=8,
)  # fmt: skip
config.num_labels = 10
model = BertForSequenceClassification(config)
arguments = TrainingArguments(
    tempfile.mkdtemp(), max_steps=100, per_device_train_batch_size=32, learning_rate=3e-3, use_cpu=True,
    save_strategy="no", report_to="none", disable_tqdm=True,
)  # fmt: skip
recorder = RecorderCallback(checkpoints := tempfile.mkdtemp(), every=5)
Trainer(model, arguments, train_dataset=data, callbacks=[recorder]).train()

loss = la.Loss.of(model, {"input_ids": tokens[:600], "labels": torch.tensor(labels[:600])}, batch_size=200)
path = la.read_checkpoints(checkpoints, loss)
la.trajectory_plane(loss, path, steps=15).atlas.plot().figure.savefig(folder / "huggingface_trainer.png")
