# %% [markdown]
# # TODO: TITLE: what it does, in one line
#
# <!-- result -->
# <!-- /result -->
#
# | | |
# |---|---|
# | Paper | TODO: Authors Year, [Title](https://arxiv.org/abs/) |
# | Data | full mode: MNIST; quick mode: the handwritten digits inside scikit-learn |
# | Model | a perceptron with one hidden layer, 203,530 parameters in full mode |
# | Metric | test error in percent; lower is better |
# | You need | tensors, autograd, matrix products |
#
# TODO: Say in one paragraph which question this notebook answers, then what the reader can do afterwards. The code
# below is a complete small example, a perceptron that reads digits: replace it part by part. Each part that is still
# to be written has a marker like the one that begins this paragraph, and `python -m tools.check` lists them.

# %% [markdown]
# ## Setup

# %%
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, "../..")
from common import autocast, batches, mnist, pick, plot_curves, progress, record, setup, show_images

device = setup(seed=0)

# %% [markdown]
# ## The idea in one picture
#
# TODO: Draw the idea with matplotlib in the next cell (`show(figure, alt)`) and explain it here.

# %% [markdown]
# ## Settings
#
# Every number that you may want to change, for both modes. Mode changes sizes, counts and data, nothing else.

# %%
hidden_size = 256
epochs = pick(full=10, quick=15)
batch_size = pick(full=256, quick=50)
learning_rate = 2e-3

# %% [markdown]
# ## Data
#
# TODO: Say what the data are and what the reader should notice. Held-out data are for testing only.

# %%
data = mnist(device)
show_images(data.x_train[:20], 10, "Training images", alt="Twenty handwritten digits")


def prepared(images):
    """Grey values 0..255 to floats in [0, 1]: uint8 (B, 1, H, W) -> (B, H * W)."""
    return images.flatten(1) / 255


x_test = prepared(data.x_test)
assert x_test.shape == (len(data.x_test), data.x_test[0].numel()) and 0 <= x_test.min() < x_test.max() <= 1
most_frequent = data.y_train.bincount().argmax()
baseline = 100 * (data.y_test != most_frequent).float().mean().item()
print(f"always answering {most_frequent}: test error {baseline:.1f} %")

# %% [markdown]
# ## Method: cross-entropy
#
# TODO: State the equation with every symbol explained, then its code, then a check on tensors small enough to follow.
# For scores $s \in \mathbb R^{C}$ and the true class $y$ the cost is $-\ln p_y = \ln \sum_c e^{s_c} - s_y$.


# %%
def cross_entropy(scores, y):
    """-ln p(y) in nats for each example: (B, C), (B,) -> (B,)."""
    return scores.logsumexp(dim=1) - scores.gather(1, y[:, None])[:, 0]


scores, y = torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
torch.testing.assert_close(cross_entropy(scores, y), F.cross_entropy(scores, y, reduction="none"))

# %% [markdown]
# ## Model
#
# TODO: Say why the model looks as it does. Shapes: `B` images, `P` pixels, `C` classes.


# %%
def perceptron(pixels, hidden, classes):
    """(B, P) -> (B, C); without a hidden layer if `hidden` is 0."""
    if not hidden:
        return nn.Linear(pixels, classes)
    return nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, classes))


pixels, classes = x_test.shape[1], len(data.classes)
model = perceptron(pixels, hidden_size, classes).to(device)
parameters = sum(parameter.numel() for parameter in model.parameters())
assert parameters == (pixels + 1) * hidden_size + (hidden_size + 1) * classes
print(f"{parameters:,} parameters")

# %% [markdown]
# ## Training
#
# TODO: Explain what in the loop is not obvious.


# %%
@torch.no_grad()
def error(model):
    """Test error in percent."""
    return 100 * (model(x_test).argmax(dim=1) != data.y_test).float().mean()


def train(model, log=True):
    """Train in place; return one row per epoch: training loss in nats, test error in percent."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=device.type == "cuda")
    history, bar = [], progress(range(epochs), "training")
    for epoch in bar:
        total = torch.zeros((), device=device)
        for images, labels in batches(data.x_train, data.y_train, size=batch_size):
            with autocast(device):
                scores = model(prepared(images))
            losses = cross_entropy(scores.float(), labels)  # in float32
            optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            optimizer.step()
            total += losses.detach().sum()
        history.append(torch.stack([total / len(data.x_train), error(model)]))
        if log and (epoch + 1) % max(1, epochs // 5) == 0:
            loss, test = history[-1].tolist()
            bar.write(f"epoch {epoch + 1:3d}: training loss {loss:.3f} nats, test error {test:.1f} %")
    history = torch.stack(history).cpu()
    assert history.isfinite().all(), "the loss is no longer a number: lower learning_rate"
    return history


started = time.perf_counter()
history = train(model)
train_seconds = time.perf_counter() - started

# %%
plot_curves({"training loss": history[:, 0]}, "epoch", "nats", log=True, alt="The training loss falls in every epoch")

# %% [markdown]
# ## How good is it?
#
# TODO: Set the result beside the computed baseline and the paper's figure; name every difference in setting.

# %%
test_error = error(model).item()
print(f"test error: {test_error:.1f} %, always the most frequent class {baseline:.1f} %")
assert test_error < 20, "the perceptron should read most digits"

# %% [markdown]
# ## Look inside
#
# TODO: Failures, nearest neighbours, interpolations or attention maps: what does the model know, and what not?

# %%
with torch.no_grad():
    answers = model(x_test).argmax(dim=1)
wrong = (answers != data.y_test).nonzero()[:10, 0]
show_images(data.x_test[wrong], 10, "Mistakes: the first ones of the test set", alt="Up to ten hard digits in a row")
print("answered:", *answers[wrong].tolist(), " true:", *data.y_test[wrong].tolist())

# %% [markdown]
# ## Ablation: what does the key idea buy?
#
# TODO: Let the reader predict the outcome, then take the key idea away. Here: the hidden layer.

# %%
torch.manual_seed(0)
without = perceptron(pixels, 0, classes).to(device)
train(without, log=False)
print(f"test error: with the hidden layer {test_error:.1f} %, without {error(without).item():.1f} %")

# %% [markdown]
# ## Pitfalls
#
# TODO: The mistakes that really happen, and how to notice them.
#
# ## Where this differs from the paper
#
# TODO: Name each difference and its reason.
#
# ## Exercises
#
# 1. TODO: Three to five, each with the outcome to expect.
#
# ## References
#
# - TODO: Authors: [Title](https://arxiv.org/abs/), year.

# %%
record(
    task="TITLE",
    paper="TODO: Authors Year",
    url="TODO: its address",
    data=data.name,
    parameters=parameters,
    metric="test error",
    value=test_error,
    unit="%",
    baseline=("most frequent class", baseline),
    band=(1.0, 3.0),  # in full mode: outside the worst of five seeds
    reference="TODO: the paper's figure and its setting",
    train_seconds=train_seconds,
)
