"""Reinforcement learning: the surrogate loss of PPO on transitions that were collected once.

The landscape is that of the surrogate on these transitions, not that of the return: other weights would have met other
states. What the old policy said, advantages and returns are numbers in the batch, computed before and held fixed.
"""

import torch
from torch import nn

import lossatlas as la


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.actor, self.critic = nn.Linear(4, 32), nn.Linear(32, 3), nn.Linear(32, 1)

    def forward(self, states):
        hidden = self.body(states).tanh()
        return self.actor(hidden).log_softmax(1), self.critic(hidden)[:, 0]


def surrogate(output, batch):
    log_policy, values = output
    ratio = (log_policy.gather(1, batch["action"][:, None])[:, 0] - batch["old_log_policy"]).exp()
    gain = torch.minimum(ratio * batch["advantage"], ratio.clamp(0.8, 1.2) * batch["advantage"])
    entropy = -(log_policy.exp() * log_policy).sum(1)
    return (-gain + 0.5 * (values - batch["return"]).square() - 0.01 * entropy).mean()


torch.manual_seed(0)
model, states, actions = ActorCritic(), torch.randn(200, 4), torch.randint(3, (200,))
advantages, returns = torch.randn(2, 200)
with torch.no_grad():
    old = model(states)[0].gather(1, actions[:, None])[:, 0]
batch = {
    "state": states, "action": actions, "old_log_policy": old, "return": returns,
    "advantage": (advantages - advantages.mean()) / advantages.std(),  # over all transitions, not within the criterion
}  # fmt: skip
loss = la.Loss.of(model, batch, surrogate, forward=lambda module, b: (module(b["state"]), b), batch_size=64)
plane = la.random_plane(loss, loss.theta, generator=torch.Generator().manual_seed(0), steps=9)
print(loss, float(loss(loss.theta)), float(plane.loss.min()))
