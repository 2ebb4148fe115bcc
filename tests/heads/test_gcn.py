"""Global convolution against one dense convolution with the kernel that its lines make."""

import torch
from torch.nn import functional as F

from contextseg.heads.gcn import GCNHead


def test_lines_are_a_sum_of_separable_kernels():
    torch.manual_seed(0)
    head = GCNHead([6], 5, channels=4, kernel_size=5).double()
    tall, wide = head.tall_wide
    wide2, tall2 = head.wide_tall
    for line in (tall, wide, wide2, tall2):
        torch.nn.init.zeros_(line.bias)
    kernel = torch.einsum("omx,mcy->ocyx", wide.weight[:, :, 0], tall.weight[..., 0])
    kernel = kernel + torch.einsum("omy,mcx->ocyx", tall2.weight[..., 0], wide2.weight[:, :, 0])
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64)
    expected = F.conv2d(x, kernel, padding=2)
    torch.testing.assert_close(head.tall_wide(x) + head.wide_tall(x), expected, rtol=0, atol=1e-10)


def test_boundary_refinement_is_a_correction():
    torch.manual_seed(0)
    plain, refined = GCNHead([6], 5, channels=4).eval(), GCNHead([6], 5, channels=4, refine=True).eval()
    refined.load_state_dict(plain.state_dict(), strict=False)
    features = [torch.randn(2, 6, 8, 8)]
    assert not torch.allclose(plain(features).logits, refined(features).logits)
    torch.nn.init.zeros_(refined.refine.branch[2].weight)
    torch.nn.init.zeros_(refined.refine.branch[2].bias)
    torch.testing.assert_close(plain(features).logits, refined(features).logits)
