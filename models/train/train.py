"""Trains one small quantized network on real data with Brevitas and exports QONNX plus plain ONNX.

usage: train.py NET OUTDIR [--epochs N] [--seed S] [--threads N]
NET: wide_w1a1 | wide_ternary_w158a8 | wide_fp32 | tfc_w1a1 | digits_w1a1

These are the networks under models/repository (fmnist_wide_w1a1 and so on). Needs brevitas, torch, scikit-learn and
onnx from PyPI, and Debian's dataset-fashion-mnist. On one core tfc takes about a minute and wide_w1a1 about an hour.

Every net takes float32 pixels in 0..255 (NCHW) and does its own scaling, so a client sends raw pixels.
"""
import argparse
import json
import time

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

import brevitas.nn as qnn
from brevitas.quant.binary import SignedBinaryWeightPerTensorConst, SignedBinaryActPerTensorConst
from brevitas.quant.ternary import SignedTernaryWeightPerTensorConst
from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat

from data import digits, fashion_mnist


class BinW(SignedBinaryWeightPerTensorConst):
    scaling_const = 1.0


class BinA(SignedBinaryActPerTensorConst):
    scaling_const = 1.0
    min_val = -1.0
    max_val = 1.0


class TerW(SignedTernaryWeightPerTensorConst):
    scaling_const = 1.0
    threshold = 0.5


class Pixels(nn.Module):
    """0..255 -> -1..1"""

    def __init__(self, top):
        super().__init__()
        self.half = top / 2.0

    def forward(self, x):
        return x / self.half - 1.0


def act(kind):
    if kind == "w1a1":
        return qnn.QuantIdentity(act_quant=BinA, return_quant_tensor=False)
    if kind == "w158a8":
        return nn.Sequential(nn.ReLU(), qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, return_quant_tensor=False))
    return nn.ReLU()


def wq(kind):
    return {"w1a1": BinW, "w158a8": TerW}[kind]


def started(m, kind):
    """binary and ternary quantizers compare the weight with +-0.5 or 0, so start it in their range"""
    if kind in ("w1a1", "w158a8"):
        nn.init.uniform_(m.weight, -1, 1)
    return m


def conv(kind, i, o, stride=1):
    if kind == "fp32":
        return nn.Conv2d(i, o, 3, stride, bias=False)
    return started(qnn.QuantConv2d(i, o, 3, stride=stride, bias=False, weight_quant=wq(kind)), kind)


def lin(kind, i, o):
    if kind == "fp32":
        return nn.Linear(i, o, bias=False)
    return started(qnn.QuantLinear(i, o, bias=False, weight_quant=wq(kind)), kind)


def cnv(kind, c1=16, c2=32, c3=64, hidden=64):
    """Strided convolutions, no zero padding anywhere: a padded 0 is not a binary value. 28 -> 13 -> 11 -> 5."""
    q = [] if kind == "fp32" else [qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=False)]
    return nn.Sequential(
        Pixels(255.0), *q,
        conv(kind, 1, c1, 2), nn.BatchNorm2d(c1), act(kind),
        conv(kind, c1, c2), nn.BatchNorm2d(c2), act(kind),
        conv(kind, c2, c3, 2), nn.BatchNorm2d(c3), act(kind),
        nn.Flatten(),
        lin(kind, c3 * 25, hidden), nn.BatchNorm1d(hidden), act(kind),
        lin(kind, hidden, 10), nn.BatchNorm1d(10))


def wide(kind):
    return cnv(kind, 64, 64, 128, 256)


def mlp(kind, n_in, widths, top):
    first = [Pixels(top), nn.Flatten()]
    if kind == "w1a1":
        first.append(act(kind))
    layers, i = first, n_in
    for w in widths:
        layers += [lin(kind, i, w), nn.BatchNorm1d(w), act(kind)]
        i = w
    return nn.Sequential(*layers, lin(kind, i, 10), nn.BatchNorm1d(10))


NETS = {
    "tfc_w1a1": (lambda: mlp("w1a1", 784, [64, 64, 64], 255.0), fashion_mnist, 12),
    "wide_w1a1": (lambda: wide("w1a1"), fashion_mnist, 30),
    "wide_fp32": (lambda: wide("fp32"), fashion_mnist, 10),
    "wide_ternary_w158a8": (lambda: wide("w158a8"), fashion_mnist, 10),
    "digits_w1a1": (lambda: mlp("w1a1", 64, [128, 128], 16.0), digits, 150),
}


def batches(x, y, size, rng, flip):
    order = rng.permutation(len(y))
    for s in range(0, len(order) - size + 1, size):
        i = order[s:s + size]
        xb = x[i]
        if flip:
            m = rng.rand(len(i)) < 0.5
            xb = xb.copy()
            xb[m] = xb[m][:, :, :, ::-1]
        yield torch.from_numpy(np.ascontiguousarray(xb)), torch.from_numpy(y[i])


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    hit = 0
    for s in range(0, len(y), 500):
        hit += (net(torch.from_numpy(x[s:s + 500])).argmax(1).numpy() == y[s:s + 500]).sum()
    return float(hit) / len(y)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("net", choices=NETS)
    p.add_argument("out")
    p.add_argument("--epochs", type=int)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    rng = np.random.RandomState(a.seed)
    build, load, epochs = NETS[a.net]
    epochs = a.epochs or epochs
    xt, yt, xv, yv = load()
    xt, xv = (v[:, None].astype(np.float32) for v in (xt, xv))
    yt, yv = yt.astype(np.int64), yv.astype(np.int64)
    net = build()
    flip = load is fashion_mnist
    size = 200 if flip else 50
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    total = epochs * (len(yt) // size)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2 if "w1a1" in a.net else 4e-3, total_steps=total)
    start, cpu = time.time(), time.process_time()
    for e in range(epochs):
        net.train()
        for xb, yb in batches(xt, yt, size, rng, flip):
            opt.zero_grad()
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            opt.step()
            sched.step()
            if "w1a1" in a.net or "w158" in a.net:
                for m in net.modules():
                    if isinstance(m, (qnn.QuantConv2d, qnn.QuantLinear)):
                        m.weight.data.clamp_(-1, 1)
        if flip or e % 25 == 24:
            print(f"{a.net} epoch {e + 1}/{epochs} loss {loss.item():.3f} test {accuracy(net, xv, yv):.4f} "
                  f"cpu {time.process_time() - cpu:.0f}s", flush=True)
    acc = accuracy(net, xv, yv)
    torch.save(net.state_dict(), f"{a.out}/{a.net}.pth")
    sample = torch.from_numpy(xv[:1])
    net.eval()
    path = f"{a.out}/{a.net}.onnx"
    if "fp32" in a.net:
        torch.onnx.export(net, (sample,), path, dynamo=False, opset_version=17,
                          input_names=["pixels"], output_names=["logits"],
                          dynamic_axes={"pixels": {0: "N"}, "logits": {0: "N"}})
    else:
        from brevitas.export import export_qonnx
        export_qonnx(net, args=sample, export_path=path, dynamo=False, opset_version=17,
                     input_names=["pixels"], output_names=["logits"],
                     dynamic_axes={"pixels": {0: "N"}, "logits": {0: "N"}})
    with torch.no_grad():
        logits = torch.cat([net(torch.from_numpy(xv[s:s + 500])) for s in range(0, len(yv), 500)]).numpy()
    np.savez_compressed(f"{a.out}/{a.net}_torch_logits.npz", logits=logits.astype(np.float32), labels=yv)
    info = dict(net=a.net, accuracy=acc, epochs=epochs, seed=a.seed, params=sum(p.numel() for p in net.parameters()),
                cpu_s=round(time.process_time() - cpu), wall_s=round(time.time() - start), torch=torch.__version__)
    json.dump(info, open(f"{a.out}/{a.net}.json", "w"), indent=1)
    print(info)


if __name__ == "__main__":
    main()
