"""What is read from the branches: attention, encoders, the heat map, and the in/out logit."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Encoder(nn.Module):
    """Two 1x1 convolutions that bring 32 widths of channels down to 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(32 * width, 16 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16 * width)
        self.conv2 = nn.Conv2d(16 * width, 8 * width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(8 * width)

    def forward(self, x: Float[Tensor, "B C g g"]) -> Float[Tensor, "B D g g"]:
        """Attended scene features with face features, compressed."""
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))


class InOutDecoder(nn.Module):
    """Whether the target lies in the picture, as a logit."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(32 * width, 8 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8 * width)
        self.conv2 = nn.Conv2d(8 * width, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1)
        self.fc = nn.Linear(grid * grid, 1)

    def forward(self, x: Float[Tensor, "B C g g"]) -> Float[Tensor, "B 1"]:
        """The logit."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        logit: Tensor = self.fc(x.flatten(1))
        return logit


class Decoder(nn.Module):
    """Three transposed convolutions up to the heat map: a grid of g becomes 8 g + 8 cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.deconv1 = nn.ConvTranspose2d(8 * width, 4 * width, 3, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.deconv2 = nn.ConvTranspose2d(4 * width, 2 * width, 3, 2)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.deconv3 = nn.ConvTranspose2d(2 * width, 1, 4, 2)
        self.bn3 = nn.BatchNorm2d(1)
        self.conv4 = nn.Conv2d(1, 1, 1)

    def forward(self, x: Float[Tensor, "B C g g"]) -> Float[Tensor, "B 1 O O"]:
        """The heat map, without a final activation."""
        x = functional.relu(self.bn1(self.deconv1(x)))
        x = functional.relu(self.bn2(self.deconv2(x)))
        x = functional.relu(self.bn3(self.deconv3(x)))
        heatmaps: Tensor = self.conv4(x)
        return heatmaps


def pooled_mask(masks: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B cells"]:
    """The head mask at an eighth of its size, as a row: a cell counts that touches the head."""
    for _ in range(3):
        masks = functional.max_pool2d(masks, 3, 2, 1)
    return masks.flatten(1)
