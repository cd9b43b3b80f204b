"""The pretended accelerator: each kind of mistake raises, and right code runs.

Runs where torch is installed (the domains' environments); elsewhere it is skipped.
"""

from __future__ import annotations

import sys

import pytest
from runner import ROOT, run_script

pytest.importorskip("torch")

START = """
import torch
from torch import nn
torch.manual_seed(0)
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
inputs, labels = torch.randn(20, 3), torch.randint(0, 2, (20,))
layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
model = nn.Sequential(*layers).to(device)
there = inputs.to(device)
"""
SAME = "Expected all tensors to be on the same device"
MISTAKES = {
    "inputs forgotten": ("model(inputs)", SAME),
    "labels forgotten": ("nn.functional.cross_entropy(model(there), labels)", SAME),
    "model forgotten": ("nn.Linear(3, 2)(there)", SAME),
    "fresh tensor": ("there + torch.ones(3)", SAME),
    "concatenated": ("torch.cat([there, inputs])", SAME),
    "buffer as plain attribute": (
        "class Shift(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.shift = torch.ones(3)\n"
        "    def forward(self, x):\n"
        "        return x + self.shift\n"
        "Shift().to(device)(there)",
        SAME,
    ),
    "result of torch.func": (
        "f = torch.func.vmap(torch.func.grad(lambda x: x.square().sum()))\n"
        "f(there) + inputs",
        SAME,
    ),
    "result of jvp": (
        "torch.func.jvp(torch.sin, (there,), (there,))[1] + inputs",
        SAME,
    ),
    "numpy": ("model(there).detach().numpy()", "can't convert cuda:0 device type tensor"),
    "asarray": (
        "import numpy; numpy.asarray(there)",
        "can't convert cuda:0 device type tensor",
    ),
    "index from the device": (
        "inputs[torch.arange(3, device=device)]",
        "indices should be either on cpu or on the same device",
    ),
    "mask from the device": (
        "inputs[(there > 0).any(1)]",
        "indices should be either on cpu or on the same device",
    ),
    "optimizer before the move": (
        "late = nn.Linear(3, 2)\n"
        "state = {p: torch.zeros_like(p) for p in late.parameters()}\n"
        "late.to(device)\n"
        "[p.data.add_(s) for p, s in state.items()]",
        SAME,
    ),
    "metric left behind": (
        "counts = torch.zeros(2)\ncounts += model(there).sum(0)",
        SAME,
    ),
    "recurrent net left behind": ("nn.GRU(3, 4)(there)", SAME),
    "targets left behind": (
        "nn.functional.ctc_loss(there[:, None], labels[None, :2], [20], [2])",
        SAME,
    ),
    "lengths on the device": (
        "lengths = torch.full((20,), 1, device=device)\n"
        "nn.utils.rnn.pack_padded_sequence(there[:, None], lengths, batch_first=True)",
        "'lengths' argument should be a 1D CPU int64 tensor",
    ),
}
RIGHT = {
    "training": """
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(there), labels.to(device))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
assert loss.device.type == "cuda" and model[0].weight.grad.device.type == "cuda"
""",
    "views and copies": """
assert there[2:].T.device == there.device != inputs.device
assert there.cpu().numpy().shape == (20, 3) and there.to("cpu").numpy() is not None
assert torch.equal(there.cpu(), inputs)
there.zero_()
assert inputs.abs().sum() > 0, "moving to a device copies"
""",
    "autocast": """
with torch.autocast(device.type, torch.bfloat16):
    assert model(there).dtype == torch.bfloat16
""",
    "numbers may meet": "assert (there * 2 + torch.tensor(1.0)).device == there.device",
    "index from the host": "assert there[torch.arange(3)].device == there.device",
    "factories": """
for made in (torch.zeros(2, device=device), torch.zeros_like(there), there.new_ones(2),
             torch.arange(3, device=there.device), torch.tensor([1.0], device=device)):
    assert made.device == there.device
""",
    "second order": """
x = torch.ones(3, device=device, requires_grad=True)
(first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
(second,) = torch.autograd.grad(first.sum(), x)
assert (second + there[0]).device == there.device
""",
    "packed sequence": """
lengths = torch.arange(20, 0, -1)
packed = nn.utils.rnn.pack_padded_sequence(
    there.expand(20, 20, 3), lengths, batch_first=True
)
outputs, last = nn.GRU(3, 4).to(device)(packed)
padded, found = nn.utils.rnn.pad_packed_sequence(outputs)
assert padded.device == last.device == there.device and torch.equal(found, lengths)
""",
    "lengths from the host": """
sizes = torch.tensor([20]), torch.tensor([2])
labels = torch.ones(1, 2, dtype=torch.long, device=device)
assert nn.functional.ctc_loss(there[:, None], labels, *sizes).device == there.device
""",
    "a freed place is not remembered": """
for _ in range(50):
    torch.ones(1000, device=device)
    assert torch.ones(1000).device.type == "cpu"
""",
}


def run(tmp_path, body):
    script = tmp_path / "mixed_devices.py"
    script.write_text(START + body)
    launcher = (sys.executable, str(ROOT / "tests" / "pretend.py"))
    return run_script(script, tmp_path / "run", launcher=launcher)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_raises(tmp_path, mistake):
    body, message = MISTAKES[mistake]
    result = run(tmp_path, body)
    assert result.returncode
    assert message in result.output


@pytest.mark.parametrize("use", RIGHT)
def test_right_code_runs(tmp_path, use):
    assert run(tmp_path, RIGHT[use]).problems == []
