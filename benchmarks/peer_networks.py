"""Other people's networks whose weights come as a file. Each uses the tensor names of its authors' file.

The files lie in a folder that `quality.py --peers FOLDER` names. They are the authors' own, stored as safetensors:

    smfanet-plus-x4-df2k.safetensors            github.com/Zheng-MJ/SMFANet, pretrain/SMFANet_plus_DF2K_100w_x4SR.pth
    rlfn-x4-ntire2024-baseline.safetensors      github.com/Amazingren/NTIRE2024_ESR, model_zoo/team00_rlfn.pth

    weights = torch.load("FILE.pth", "cpu", weights_only=True)
    safetensors.torch.save_file(weights.get("params", weights), "FILE.safetensors")

Both networks take float32 [N, 3, H, W], at least 16x16 pixels, and give [N, 3, 4H, 4W].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same(inputs: int, outputs: int, size: int, groups: int = 1) -> nn.Conv2d:
    """Returns a convolution that keeps width and height."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)


def to_picture(channels: int) -> nn.Sequential:
    return nn.Sequential(same(channels, 3 * 4 * 4, 3), nn.PixelShuffle(4))


# SMFANet+ (Zheng et al. 2024, "SMFANet: A lightweight self-modulation feature aggregation network"), values from 0 to 1


class LocalDetail(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_0 = nn.Sequential(
            same(channels, 2 * channels, 3, groups=channels), same(2 * channels, 2 * channels, 1)
        )
        self.conv_1 = same(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(F.gelu(self.conv_0(x)))


class Aggregation(nn.Module):
    """Weights half of the features by their maxima in 8x8 squares and by their variance. The other half keeps local
    detail."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear_0 = same(channels, 2 * channels, 1)
        self.linear_1, self.linear_2 = same(channels, channels, 1), same(channels, channels, 1)
        self.dw_conv = same(channels, channels, 3, groups=channels)
        self.lde = LocalDetail(channels)
        self.alpha, self.belt = (nn.Parameter(torch.empty(1, channels, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        local, wide = self.linear_0(x).chunk(2, dim=1)
        maxima = self.dw_conv(F.adaptive_max_pool2d(wide, (size[0] // 8, size[1] // 8)))
        variance = wide.var(dim=(-2, -1), keepdim=True)
        weight = F.gelu(self.linear_1(maxima * self.alpha + variance * self.belt))
        return self.linear_2(wide * F.interpolate(weight, size) + self.lde(local))


class PartlyConvolved(nn.Module):
    """Doubles the channels and convolves only the first quarter of them with a 3x3 kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seeing = channels // 2
        self.conv_0, self.conv_2 = same(channels, 2 * channels, 1), same(2 * channels, channels, 1)
        self.conv_1 = same(self.seeing, self.seeing, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv_0(x))
        seeing, rest = x[:, : self.seeing], x[:, self.seeing :]
        return self.conv_2(torch.cat([F.gelu(self.conv_1(seeing)), rest], dim=1))


class Modulation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.smfa, self.pcfn = Aggregation(channels), PartlyConvolved(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.smfa(F.normalize(x))
        return x + self.pcfn(F.normalize(x))


class SMFANetPlus(nn.Module):
    def __init__(self, channels: int = 48, blocks: int = 12) -> None:
        super().__init__()
        self.to_feat = same(3, channels, 3)
        self.feats = nn.Sequential(*(Modulation(channels) for _ in range(blocks)))
        self.to_img = to_picture(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_feat(x)
        return self.to_img(x + self.feats(x))


# RLFN (Kong et al. 2022, "Residual local feature network for efficient super-resolution"), values from 0 to 255


class Attention(nn.Module):
    """Enhanced spatial attention, which weights each feature by a wide neighbourhood."""

    def __init__(self, channels: int, inner: int = 16) -> None:
        super().__init__()
        self.conv1, self.conv_f, self.conv4 = same(channels, inner, 1), same(inner, inner, 1), same(inner, channels, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = same(inner, inner, 3)

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv1(x)
        wide = self.conv3(F.max_pool2d(self.conv2(near), 7, stride=3))
        wide = F.interpolate(wide, x.shape[-2:], mode="bilinear")
        return x * self.conv4(wide + self.conv_f(near)).sigmoid()


class LocalBlock(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = same(channels, inner, 3), same(inner, inner, 3), same(inner, channels, 3)
        self.c5 = same(channels, channels, 1)
        self.esa = Attention(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = F.leaky_relu(layer(y), 0.05)
        return self.esa(self.c5(x + y))


class RLFN(nn.Module):
    def __init__(self, channels: int = 46, inner: int = 48) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = same(3, channels, 3), same(channels, channels, 3)
        self.block_1, self.block_2, self.block_3, self.block_4 = (LocalBlock(channels, inner) for _ in range(4))
        self.upsampler = to_picture(channels)

    def forward(self, x: Tensor) -> Tensor:
        first = x = self.conv_1(x)
        for block in (self.block_1, self.block_2, self.block_3, self.block_4):
            x = block(x)
        return self.upsampler(first + self.conv_2(x))
